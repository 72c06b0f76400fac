"""Tiny random models as `transformers` computes them."""

import numpy as np
import torch
import transformers

from common import weights


def model_of(kind, cfg, seed):
    """A model of class `kind` with weights that follow from the seed."""
    model = kind(cfg).to(torch.float32).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.copy_(torch.from_numpy(weights(name, seed, tuple(tensor.shape))))
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, eos_token_id=[2, 3], pad_token_id=0)
    return model


@torch.no_grad()
def logits(model, tokens):
    """Logits at all positions of one fresh pass, without a cache."""
    out = model(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()
    assert np.abs(out).max() <= 20.0, np.abs(out).max()
    return out


def quiet():
    """One thread, for the same sums everywhere, and no talk."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
