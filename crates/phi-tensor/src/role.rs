/// Which part of a decoder-only transformer a tensor is.
///
/// How a file spells it is the business of the crate that reads that file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Role {
    /// Token embedding, `[n_vocab, n_embd]`.
    TokenEmbd,
    /// Norm before the head, `[n_embd]`.
    OutputNorm,
    /// The head, `[n_vocab, n_embd]`; absent when tied to the embedding.
    Output,
    /// Longrope factors beyond the original context, `[n_rot / 2]`.
    RopeFactorsLong,
    /// Longrope factors within the original context, `[n_rot / 2]`.
    RopeFactorsShort,
    /// Factors for contexts of any length, `[n_rot / 2]`.
    RopeFreqs,
    /// Norm before attention, `[n_embd]`.
    AttnNorm,
    /// Query, key and value rows in one matrix, `[(n_head + 2·n_head_kv)·head_dim, n_embd]`.
    AttnQkv,
    /// Query rows, `[n_head·head_dim, n_embd]`.
    AttnQ,
    /// Key rows, `[n_head_kv·head_dim, n_embd]`.
    AttnK,
    /// Value rows, `[n_head_kv·head_dim, n_embd]`.
    AttnV,
    /// Projection of the attended values, `[n_embd, n_head·head_dim]`.
    AttnOutput,
    /// Norm before the feed-forward, `[n_embd]`.
    FfnNorm,
    /// Gate rows, `[n_ff, n_embd]`.
    FfnGate,
    /// Up rows, `[n_ff, n_embd]`; with fused gate and up, `[2·n_ff, n_embd]`, gate first.
    FfnUp,
    /// Down rows, `[n_embd, n_ff]`.
    FfnDown,
    /// Rows of the router, one for each expert, `[n_expert, n_embd]`.
    FfnGateInp,
    /// Gate rows of all experts, `[n_expert, n_ff, n_embd]`.
    FfnGateExps,
    /// Up rows of all experts, `[n_expert, n_ff, n_embd]`.
    FfnUpExps,
    /// Down rows of all experts, `[n_expert, n_embd, n_ff]`.
    FfnDownExps,
    /// Bias of [`Role::OutputNorm`], `[n_embd]`.
    OutputNormBias,
    /// Bias of [`Role::Output`], `[n_vocab]`.
    OutputBias,
    /// Bias of [`Role::AttnNorm`], `[n_embd]`.
    AttnNormBias,
    /// Bias of [`Role::AttnQkv`], one value per row.
    AttnQkvBias,
    /// Bias of [`Role::AttnQ`], one value per row.
    AttnQBias,
    /// Bias of [`Role::AttnK`], one value per row.
    AttnKBias,
    /// Bias of [`Role::AttnV`], one value per row.
    AttnVBias,
    /// Bias of [`Role::AttnOutput`], `[n_embd]`.
    AttnOutputBias,
    /// Bias of [`Role::FfnNorm`], `[n_embd]`.
    FfnNormBias,
    /// Bias of [`Role::FfnUp`], one value per row.
    FfnUpBias,
    /// Bias of [`Role::FfnDown`], `[n_embd]`.
    FfnDownBias,
    /// Norm of the difference of paired heads, `[2·head_dim]`.
    AttnSubNorm,
    /// Vectors whose products say what share of the second of paired heads is taken away, `[head_dim]`.
    AttnLambdaQ1,
    /// See [`Role::AttnLambdaQ1`].
    AttnLambdaK1,
    /// See [`Role::AttnLambdaQ1`].
    AttnLambdaQ2,
    /// See [`Role::AttnLambdaQ1`].
    AttnLambdaK2,
    /// Input and gate rows of a recurrence, `[2·n_inner, n_embd]`; of a gate alone, `[n_inner, n_embd]`.
    SsmIn,
    /// Weights of the convolution before it, `[n_inner, n_conv]`.
    SsmConv1d,
    /// Bias of [`Role::SsmConv1d`], `[n_inner]`.
    SsmConv1dBias,
    /// Rows of step, input and output weights, `[n_dt + 2·n_state, n_inner]`.
    SsmX,
    /// Steps of all channels, `[n_inner, n_dt]`.
    SsmDt,
    /// Bias of [`Role::SsmDt`], `[n_inner]`.
    SsmDtBias,
    /// What the state decays by, below 0: `[n_inner, n_state]`.
    SsmA,
    /// What of the input goes around the state, `[n_inner]`.
    SsmD,
    /// Projection back, `[n_embd, n_inner]`.
    SsmOut,
}

impl Role {
    /// Whether a matrix of this role is F32 in every file, as vectors are: it is small, and recurrences repeat its errors.
    pub fn is_exact(self) -> bool {
        matches!(self, Role::SsmA | Role::SsmConv1d)
    }

    /// Whether it is a stack of matrices, one for each expert, of which a token uses few.
    pub fn is_experts(self) -> bool {
        matches!(self, Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps)
    }
}
