"""The phi3 architecture for training: the mathematics and parameter names of transformers' Phi3ForCausalLM.

Written out here because plain matrix products for the attention of short sequences, and logits only where the loss
looks, train several times faster on a CPU than the general implementation. export.py checks that both agree.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Phi3Config


def phi3_config(tokenizer):
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    return Phi3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        original_max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75},
        sliding_window=None,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
        use_cache=True,
    )


class RMSNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def _rotate(x, cos, sin):
    """Rotates the first part of each head and passes the rest through (partial rotary embedding)."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.hidden_size // self.heads
        self.qkv_proj = nn.Linear(config.hidden_size, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, length, self.heads + 2 * self.kv_heads, self.head_dim).transpose(1, 2)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        # The query heads that share a key head are laid one below the other: one product serves them all.
        group = self.heads // self.kv_heads
        q = (_rotate(q, cos, sin) * self.head_dim**-0.5).to(qkv.dtype)
        q = q.reshape(batch * self.kv_heads, group * length, self.head_dim)
        k = _rotate(k, cos, sin).to(qkv.dtype).reshape(batch * self.kv_heads, length, self.head_dim)
        v = v.reshape(batch * self.kv_heads, length, self.head_dim)
        scores = torch.bmm(q, k.transpose(1, 2)).view(-1, group, length, length) + mask
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(qkv.dtype)
        mixed = torch.bmm(weights.view(-1, group * length, length), v)
        mixed = mixed.view(batch, self.heads, length, self.head_dim).transpose(1, 2)
        return self.o_proj(mixed.reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config)
        self.post_attention_layernorm = RMSNorm(config)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)

    def forward(self, ids, cos, sin, mask):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)


class Phi3(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.model = Decoder(config)
        rope = config.rope_parameters
        rotary = int(config.hidden_size // config.num_attention_heads * rope["partial_rotary_factor"])
        frequencies = rope["rope_theta"] ** -(torch.arange(0, rotary, 2).float() / rotary)
        angles = torch.arange(config.max_position_embeddings).float()[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, picked):
        """Logits at the picked positions of the flattened batch."""
        length = ids.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = self.model(ids, self.cos[:length], self.sin[:length], mask)
        return F.linear(x.flatten(0, 1)[picked], self.model.embed_tokens.weight)
