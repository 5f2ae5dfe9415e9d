// Fragments of cooperative matrices, 8·8: f16 in, f32 out.
enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT: u32 = 8u;
alias FragmentX = coop_mat8x8<f16, A>;
alias FragmentW = coop_mat8x8<f16, B>;
alias FragmentY = coop_mat8x8<f32, C>;
