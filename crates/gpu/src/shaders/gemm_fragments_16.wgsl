// Fragments of cooperative matrices, 16·16: f16 in, f32 out.
enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT: u32 = 16u;
alias FragmentX = coop_mat16x16<f16, A>;
alias FragmentW = coop_mat16x16<f16, B>;
alias FragmentY = coop_mat16x16<f32, C>;
