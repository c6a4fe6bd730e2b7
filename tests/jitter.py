"""A processor that is not here: every rounded result moves by about one unit in the last place.

Kernels of other processors, thread counts and releases add in another order, fuse a product with a sum or not, and
have another last bit in `exp`. `Jitter` does the same to whatever runs inside it: results of products, convolutions,
reductions and transcendental functions move to a neighbouring float, or stay. Which one depends on the result, its
place and the seed alone, so that the same arithmetic gives the same bits twice, as on a real processor.

    pytest --jitter 3            tests and chapters on processor number 3
    JITTER=3 python program.py   with `from tests.jitter import ...` inside; chapters' kernels do that at their start

Integers, copies, comparisons and IEEE's own +, −, ×, ÷ and √ are the same everywhere, and stay; so does a result whose
last bits are 0: a count, a power of two, a sum of few digits is not rounded on any processor.
"""

import os
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VARIABLE = "JITTER"  # of the environment: kernels and other processes inherit the seed with it

# Each entry of a result of these is a sum of many terms: in which order they are added depends on its place.
SUMS = set(
    """
    mm addmm bmm baddbmm addbmm mv addmv addr dot vdot linear mkldnn_linear _addmm_activation
    convolution _convolution convolution_backward mkldnn_convolution mkldnn_rnn_layer
    _slow_conv2d_forward slow_conv3d _slow_conv2d_backward conv_transpose2d
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward
    _scaled_dot_product_attention_math _scaled_dot_product_efficient_attention
    _scaled_dot_product_efficient_attention_backward _transform_bias_rescale_qkv _native_multi_head_attention
    sum nansum mean nanmean var std var_mean std_mean norm linalg_vector_norm native_norm _foreach_norm prod
    cumsum cumprod logsumexp logcumsumexp trace _cdist_forward _cdist_backward _pdist_forward renorm
    _softmax _softmax_backward_data _log_softmax _log_softmax_backward_data _safe_softmax
    native_layer_norm native_layer_norm_backward native_group_norm native_group_norm_backward
    native_batch_norm native_batch_norm_backward _native_batch_norm_legit _batch_norm_with_update batch_norm_backward
    _native_batch_norm_legit_functional _fused_rms_norm _fused_rms_norm_backward
    avg_pool1d avg_pool2d avg_pool2d_backward avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool2d_backward
    upsample_bilinear2d upsample_bilinear2d_backward upsample_bicubic2d grid_sampler_2d grid_sampler_2d_backward
    embedding_dense_backward _embedding_bag nll_loss_forward nll_loss2d_forward mse_loss smooth_l1_loss huber_loss
    binary_cross_entropy binary_cross_entropy_backward _ctc_loss _ctc_loss_backward
    linalg_qr _linalg_svd _linalg_eigh linalg_eig linalg_eigvals linalg_inv_ex linalg_lu linalg_lu_factor_ex
    linalg_lu_solve _linalg_solve_ex linalg_solve_triangular linalg_cholesky_ex cholesky_inverse linalg_householder_product
    geqrf _linalg_det _linalg_slogdet linalg_matrix_exp linalg_lstsq triangular_solve _fft_r2c _fft_c2r _fft_c2c
    scatter_add index_add scatter_reduce index_put segment_reduce histc
    _thnn_fused_lstm_cell _thnn_fused_gru_cell _thnn_fused_lstm_cell_backward_impl _thnn_fused_gru_cell_backward
    """.split()
)
# Here the last bit depends on the library, and on whether a product is fused with a sum.
FUNCTIONS = set(
    """
    exp exp2 expm1 log log2 log10 log1p pow rsqrt logaddexp logaddexp2 xlogy sigmoid log_sigmoid_forward logit
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sinc hypot
    erf erfc erfinv lgamma digamma polygamma mvlgamma i0 igamma igammac
    special_erfcx special_log_ndtr special_ndtri special_zeta special_i0e special_i1 special_i1e special_entr special_xlog1py
    gelu silu softplus elu celu mish hardswish
    gelu_backward silu_backward softplus_backward elu_backward mish_backward log_sigmoid_backward
    tanh_backward sigmoid_backward hardswish_backward
    addcmul addcdiv lerp normal _standard_gamma exponential log_normal cauchy geometric
    binary_cross_entropy_with_logits soft_margin_loss kl_div cosine_embedding_loss
    """.split()
)

# Where these end, they end on every processor: a probability of 1, the tanh of 20.
BOUNDED = set("sigmoid tanh sin cos erf erfc _softmax _safe_softmax".split())

ROUNDED = SUMS | FUNCTIONS
# A product of which each sum has one term at most is not rounded twice: exact, too.
PRODUCTS = set("mm bmm mv".split())

# For each dtype its integers, in torch and in numpy; an odd factor that makes hashes of them; the last bits, which are 0
# in numbers of few digits; and the bits of 1.
_BITS = {
    torch.float64: (torch.int64, np.int64, 0x1E3779B97F4A7C15, 0xFFFF, 0x3FF << 52),
    torch.float32: (torch.int32, np.int32, 0x1E3779B1, 0xFF, 0x7F << 23),
    torch.float16: (torch.int16, np.int16, 0x1E37, 0xF, 0xF << 10),
    torch.bfloat16: (torch.int16, np.int16, 0x1E37, 0x3, 0x7F << 7),
}
_PLACES = 1 << 20


class Jitter(TorchDispatchMode):
    """Inside it, torch calculates as processor number `seed` would. Outside nothing is changed.

    It reaches backward passes and `torch.func` alike, but one thread only, and nothing that torch.compile compiled.
    The bits are numpy's: of small tensors torch's own calls would cost a multiple of what is calculated.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # a wrapper around every call, for what is compiled

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self.places: dict[Any, np.ndarray] = {}
        self.names: dict[Any, str] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = self.names.get(func)
        if name is None:
            name = self.names[func] = func.overloadpacket.__name__.removesuffix("_")
        if name in ROUNDED and not _is_exact(name, args):
            given = [entry for entry in args if _is_number(entry)]
            for entry in result if isinstance(result, (tuple, list)) else (result,):
                if _is_number(entry) and entry.numel():
                    self.disturb(entry, name, given)
        return result

    def disturb(self, result: Tensor, name: str, given: list[Tensor]) -> None:
        """Multiplies entries by 1 − ε/2, 1, 1 or 1 + ε: which, depends on their value and, in sums, on their place."""
        integer, _, odd, last, one = _BITS[result.dtype]
        width, bits = torch.iinfo(integer).bits, _bits(result)
        step = np.multiply(bits, odd)
        step ^= self.place(bits, result.dtype, name) if name in SUMS else self.number(integer)
        if width == 16:  # sums of products are rounded to 16 bits once: another order moves few of them
            step *= (step & 0x1C0) == 0
        step >>= width - 2  # −2, −1, 0 or 1
        kept = self.exact(result, bits, name, given, last)
        if kept is not None:
            np.putmask(step, kept, 0)
        step += 2 * one + 1
        step >>= 1
        result *= torch.from_numpy(step).view(result.shape).view(result.dtype).to(result.device)

    def exact(self, result: Tensor, bits: np.ndarray, name: str, given: list[Tensor], last: int) -> np.ndarray | None:
        """Which entries are the same on every processor."""
        if name in BOUNDED:
            return (bits & last) == 0
        if name in FUNCTIONS and given and given[0].shape == result.shape and given[0].dtype == result.dtype:
            return ((bits | _bits(given[0])) & last) == 0
        short = [_is_of_few_digits(tensor) for tensor in given]
        if all(short):
            return (bits & last) == 0
        if name in PRODUCTS and any(short):
            terms = torch.matmul(*((tensor != 0).float() for tensor in given))
            return np.atleast_1d(terms.cpu().numpy() <= 1)
        return None

    def place(self, bits: np.ndarray, dtype: torch.dtype, name: str) -> np.ndarray:
        """A random integer for each place of a result of this operation."""
        key = dtype, bits.shape, name
        if key not in self.places:
            integer = _BITS[dtype][0]
            limits, generator = torch.iinfo(integer), torch.Generator().manual_seed(self.seed)
            if integer not in self.places:
                size = {"size": (_PLACES,), "dtype": integer, "device": "cpu", "generator": generator}
                self.places[integer] = torch.randint(limits.min, limits.max, **size).numpy()
            places, size = self.places[integer], bits.size
            if size > _PLACES // 2:
                places = np.tile(places, size // _PLACES + 2)
            start = crc32(name.encode()) % (len(places) - size)
            self.places[key] = places[start : start + size].reshape(bits.shape)
        return self.places[key]

    def number(self, integer: torch.dtype) -> int:
        """One integer for functions, which do not know places."""
        return (self.seed * 0x9E3779B97F4A7C15 + 0x3C6EF372FE94F82B) % torch.iinfo(integer).max


def _bits(tensor: Tensor) -> np.ndarray:
    """The entries as integers, with an axis at least."""
    if tensor.dtype == torch.bfloat16:  # which numpy does not have
        return np.atleast_1d(tensor.detach().view(torch.int16).cpu().numpy())
    return np.atleast_1d(tensor.detach().cpu().numpy().view(_BITS[tensor.dtype][1]))


def _is_exact(name: str, args: tuple) -> bool:
    """Whether a power is a product, a quotient or a root, which IEEE defines to the last bit; or a sum only copies."""
    if name == "index_put":
        return not any(given is True for given in args[3:])  # accumulate
    exponent = args[1] if name == "pow" and len(args) > 1 else None
    return isinstance(exponent, (int, float)) and exponent in (-1, 0.5, 1, 2)


def _is_number(value) -> bool:
    """Whether the value is a plain tensor of floats that hold something."""
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.dtype in _BITS and value.layout == torch.strided
    return plain and value.device.type != "meta"


def _is_of_few_digits(tensor: Tensor) -> bool:
    """Whether the last bits of all entries are 0, as those of counts, signs and powers of two."""
    bits, last = _bits(tensor), _BITS[tensor.dtype][3]
    return not bits.size or not (bits.item(0) & last or (bits & last).any())


def from_environment() -> Jitter | None:
    """The processor that the environment asks for, entered for as long as this process runs."""
    if not os.environ.get(VARIABLE):
        return None
    jitter = Jitter(int(os.environ[VARIABLE]))
    jitter.__enter__()
    return jitter
