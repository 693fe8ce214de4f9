"""All fusions on one page, to compare: corridors of every modality -> one vector.

Each is called with {name: {"tokens": (batch, steps, dim), "mask": (batch, steps)}}, in
which every row has at least one visible token a modality (`layers.MissingToken` sees
to that), and gives (batch, units); `late` gives {name: (batch, units)}. With x_m the
pooled vector of modality m (`layers.Pool`), and T_m its tokens:

    kind             what it computes                       where it fits
    concat           Dense [x_1, ..., x_N]                  a first try
    weighted         sum_m w_m tanh(W_m x_m), w learned     to see what all rows lean on
    gated            the same with w read from each row     some inputs are noisy
    low_rank         prod_m (W_m x_m + b_m)                 the answer is a combination
    attention        queries read [T_1, ..., T_N]           a few tokens tell it all
    cross_attention  T_m ask the T of all others            tokens belong to tokens
    bottleneck       T_m exchange through a few latents     the same, long sequences
    late             Dense x_m, a head each, then the mean  inputs often missing

`attention`, `cross_attention` and `bottleneck` read tokens, keep the pooled vectors
beside, and find what pooling loses: which word goes with which patch. In that order
they cost more time. The others tell apart what pooled vectors tell apart.
"""

from mmkeras.fusion.sequences import Attention, Bottleneck, CrossAttention
from mmkeras.fusion.vectors import Concat, Gated, Late, LowRank, Weighted

FUSIONS = {
    "concat": Concat,
    "weighted": Weighted,
    "gated": Gated,
    "low_rank": LowRank,
    "attention": Attention,
    "cross_attention": CrossAttention,
    "bottleneck": Bottleneck,
    "late": Late,
}
