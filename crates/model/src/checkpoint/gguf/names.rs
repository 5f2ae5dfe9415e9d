//! What transformers calls the tensors of a GGUF file.

/// Names of a layer's parts, without `.weight` and `.bias`: here and there.
type Pairs = &'static [(&'static str, &'static str)];

/// The names of an architecture. `{}` stands for the number of a layer.
pub(super) struct Names {
    pairs: Pairs,
    /// Tensors that nothing reads.
    pub(super) unread: &'static [&'static str],
}

pub(super) const LLAMA: Names = Names {
    pairs: &[
        ("token_embd", "model.embed_tokens"),
        ("output", "lm_head"),
        ("output_norm", "model.norm"),
        ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
        ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
        ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
        ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
        ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"),
        ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
        ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
        ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
        ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
    ],
    // What it holds became part of the configuration.
    unread: &["rope_freqs.weight"],
};

pub(super) const GPT2: Names = Names {
    pairs: &[
        ("token_embd", "wte"),
        ("position_embd", "wpe"),
        ("output", "lm_head"),
        ("output_norm", "ln_f"),
        ("blk.{}.attn_norm", "h.{}.ln_1"),
        ("blk.{}.attn_qkv", "h.{}.attn.c_attn"),
        ("blk.{}.attn_output", "h.{}.attn.c_proj"),
        ("blk.{}.ffn_norm", "h.{}.ln_2"),
        ("blk.{}.ffn_up", "h.{}.mlp.c_fc"),
        ("blk.{}.ffn_down", "h.{}.mlp.c_proj"),
    ],
    unread: &[],
};

/// Of a T5 without gates.
pub(super) const T5: Names = Names {
    pairs: &[
        ("token_embd", "shared"),
        ("output", "lm_head"),
        ("enc.output_norm", "encoder.final_layer_norm"),
        ("enc.blk.{}.attn_norm", "encoder.block.{}.layer.0.layer_norm"),
        ("enc.blk.{}.attn_q", "encoder.block.{}.layer.0.SelfAttention.q"),
        ("enc.blk.{}.attn_k", "encoder.block.{}.layer.0.SelfAttention.k"),
        ("enc.blk.{}.attn_v", "encoder.block.{}.layer.0.SelfAttention.v"),
        ("enc.blk.{}.attn_o", "encoder.block.{}.layer.0.SelfAttention.o"),
        ("enc.blk.{}.attn_rel_b", "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias"),
        ("enc.blk.{}.ffn_norm", "encoder.block.{}.layer.1.layer_norm"),
        ("enc.blk.{}.ffn_gate", "encoder.block.{}.layer.1.DenseReluDense.wi_0"),
        ("enc.blk.{}.ffn_up", "encoder.block.{}.layer.1.DenseReluDense.wi"),
        ("enc.blk.{}.ffn_down", "encoder.block.{}.layer.1.DenseReluDense.wo"),
        ("dec.output_norm", "decoder.final_layer_norm"),
        ("dec.blk.{}.attn_norm", "decoder.block.{}.layer.0.layer_norm"),
        ("dec.blk.{}.attn_q", "decoder.block.{}.layer.0.SelfAttention.q"),
        ("dec.blk.{}.attn_k", "decoder.block.{}.layer.0.SelfAttention.k"),
        ("dec.blk.{}.attn_v", "decoder.block.{}.layer.0.SelfAttention.v"),
        ("dec.blk.{}.attn_o", "decoder.block.{}.layer.0.SelfAttention.o"),
        ("dec.blk.{}.attn_rel_b", "decoder.block.{}.layer.0.SelfAttention.relative_attention_bias"),
        ("dec.blk.{}.cross_attn_norm", "decoder.block.{}.layer.1.layer_norm"),
        ("dec.blk.{}.cross_attn_q", "decoder.block.{}.layer.1.EncDecAttention.q"),
        ("dec.blk.{}.cross_attn_k", "decoder.block.{}.layer.1.EncDecAttention.k"),
        ("dec.blk.{}.cross_attn_v", "decoder.block.{}.layer.1.EncDecAttention.v"),
        ("dec.blk.{}.cross_attn_o", "decoder.block.{}.layer.1.EncDecAttention.o"),
        ("dec.blk.{}.ffn_norm", "decoder.block.{}.layer.2.layer_norm"),
        ("dec.blk.{}.ffn_gate", "decoder.block.{}.layer.2.DenseReluDense.wi_0"),
        ("dec.blk.{}.ffn_up", "decoder.block.{}.layer.2.DenseReluDense.wi"),
        ("dec.blk.{}.ffn_down", "decoder.block.{}.layer.2.DenseReluDense.wo"),
    ],
    // Old files have it, and no T5 adds it: the keys of cross-attention have no distance.
    unread: &["dec.blk.0.cross_attn_rel_b.weight"],
};

impl Names {
    /// What transformers calls a tensor; `None` if it has none like it.
    pub(super) fn theirs(&self, tensor: &str) -> Option<String> {
        let (part, end) = tensor.rsplit_once('.')?;
        let (pattern, layer) =
            match part.split_once("blk.").and_then(|(stack, rest)| Some((stack, rest.split_once('.')?))) {
                Some((stack, (layer, rest))) if is_number(layer) => (format!("{stack}blk.{{}}.{rest}"), layer),
                _ => (part.to_owned(), ""),
            };
        let found = self.pairs.iter().find(|(own, _)| *own == pattern);
        found.map(|(_, theirs)| format!("{}.{end}", theirs.replace("{}", layer)))
    }
}

/// As numbers of layers are written: no zeros before them.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number.to_string() == text)
}
