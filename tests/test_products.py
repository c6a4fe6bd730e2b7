"""Products of random matrices: laws, closed forms, and what no dtype may break."""

from math import exp, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lstab import products, random_product, seeded
from d2lstab.products import critical_std, gaussian_lyapunov_exponents, lyapunov_exponents, lyapunov_trace
from d2lstab.randomness import normal
from tests.truth import ROWS, truth

pytestmark = pytest.mark.slow

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LN10 = log(10)


def rows(prefix: str):
    return truth(*(name for name in ROWS if name.startswith(prefix)))


def variance_per_step(n: int) -> float:
    return float(torch.polygamma(1, torch.tensor(n / 2, dtype=torch.float64))) / 4


def gaussian_matrices(*shape: int, seed: int = 0, dtype=torch.float64):
    return normal(*shape, generator=seeded(seed), dtype=dtype)


@pytest.fixture
def drawn(monkeypatch):
    """The factors that random_product draws, in order, each (trials, n, n)."""
    factors = []

    def recording(*shape, **keywords):
        draw = normal(*shape, **keywords)
        factors.append(draw if shape[-1] == shape[-2] else draw.movedim(-1, 0))
        return draw

    monkeypatch.setattr(products, "normal", recording)
    return factors


@pytest.fixture(scope="module")
def source_products():
    """100,000 runs of the source's loop of 101 factors."""
    return random_product(4, 101, trials=100_000)


# Laws of random_product


@pytest.mark.parametrize("n", [1, 2, 4, 7, 8, 9])
def test_direction_and_log_norm_are_those_of_the_product_of_the_drawn_factors(drawn, n):
    trace = random_product(n, 6, trials=5, std=0.7, dtype=torch.float64)
    product = torch.eye(n, dtype=torch.float64)
    for index, factor in enumerate(drawn):
        product = 0.7 * factor @ product
        norm = torch.linalg.matrix_norm(product)
        torch.testing.assert_close(trace.log_norm[:, index], norm.log())
    torch.testing.assert_close(trace.direction, product / norm[:, None, None])


def test_one_factor_is_a_gaussian_matrix_with_the_given_std():
    trace = random_product(3, 1, std=2.5, trials=40_000)
    entries = trace.direction.double() * trace.log_norm.exp()[:, :, None]
    assert abs(float(entries.mean())) < 5 * 2.5 / sqrt(9 * 40_000)
    assert abs(float(entries.std()) / 2.5 - 1) < 5 / sqrt(2 * 9 * 40_000)


@pytest.mark.parametrize("n", [4, 16])
def test_a_longer_product_begins_with_the_shorter_one(n):
    short, long = (random_product(n, factors, trials=3, seed=5) for factors in (4, 9))
    torch.testing.assert_close(short.log_norm, long.log_norm[:, :4], rtol=0, atol=0)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 10), factors=st.integers(1, 12), log_std=st.floats(-300, 300), seed=st.integers(0, 2**40))
def test_the_std_adds_its_logarithm_per_factor_and_nothing_else(n, factors, log_std, seed):
    one = random_product(n, factors, trials=3, seed=seed)
    scaled = random_product(n, factors, trials=3, seed=seed, std=exp(log_std))
    expected = one.log_norm + torch.arange(1, factors + 1, dtype=torch.float64) * log_std
    torch.testing.assert_close(scaled.log_norm, expected, rtol=1e-12, atol=1e-10)
    assert torch.equal(scaled.direction, one.direction)


def test_a_seed_means_the_same_product_and_another_seed_another():
    first, again, other = (random_product(trials=3, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.log_norm, again.log_norm) and torch.equal(first.direction, again.direction)
    assert not torch.equal(first.log_norm, other.log_norm)


@pytest.mark.parametrize("n", [2, 4, 8, 64])
def test_a_seed_means_the_same_matrices_in_every_dtype(n):
    exact = random_product(n, 30, trials=50, dtype=torch.float64)
    for dtype in DTYPES:
        trace = random_product(n, 30, trials=50, dtype=dtype)
        eps = torch.finfo(dtype).eps
        # Rounding adds an error of the order of eps per factor; other matrices would differ by several units.
        typical = (trace.log_norm - exact.log_norm).abs().median()
        assert trace.direction.dtype == dtype and trace.log_norm.dtype == torch.float64
        assert typical < 10 * eps, dtype


LENGTHS = [(1, 1000, 100), (2, 1000, 100), (64, 2000, 2)]


@pytest.mark.parametrize(
    ("n", "factors", "trials", "dtype"),
    [(*length, dtype) for length in LENGTHS for dtype in DTYPES] + [(4, 10_000, 3, torch.float16)],
)
def test_nothing_is_ever_infinite_or_nan(n, factors, trials, dtype):
    trace = random_product(n, factors, trials=trials, dtype=dtype, std=1e3)
    assert trace.log_norm.isfinite().all() and trace.direction.isfinite().all() and trace.rate.isfinite().all()
    norms = torch.linalg.matrix_norm(trace.direction.double())
    # Two norms, a quotient and two logarithms, each rounded by half an ε or a whole one.
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_product_is_rounded_to_the_dtype_after_every_factor(drawn, dtype):
    trace = random_product(4, 40, trials=100, dtype=dtype)
    product = torch.eye(4, dtype=torch.float64)
    for factor in drawn:
        product = factor.double() @ product
    error = (trace.log_norm[:, -1] - torch.linalg.matrix_norm(product).log()).abs().median()
    eps = torch.finfo(dtype).eps
    assert eps / 10 < error < 10 * eps


@pytest.mark.parametrize("n", [1, 4, 8])
@pytest.mark.parametrize("when", [0, 2])
def test_a_factor_that_rounds_the_product_to_zero_is_left_out(monkeypatch, n, when):
    calls = []

    def vanishing(*shape, **keywords):
        draw = normal(*shape, **keywords)
        if len(calls) == when:
            (draw[1] if n >= 8 else draw[..., 1]).zero_()
        calls.append(draw)
        return draw

    monkeypatch.setattr(products, "normal", vanishing)
    trace = random_product(n, when + 1, trials=3)
    norms = torch.linalg.matrix_norm(trace.direction)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    before = trace.log_norm[1, when - 1] if when else torch.zeros((), dtype=torch.float64)
    assert trace.log_norm[1, when] == before


def test_the_global_random_stream_is_left_alone():
    before = torch.get_rng_state()
    random_product(trials=2, seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("n", [4, 64])
def test_the_mean_squared_norm_grows_by_n_std_squared_per_factor(n):
    factors, trials = 3, 40_000 if n == 4 else 2000
    squares = (2 * random_product(n, factors, std=1 / sqrt(n), trials=trials).log_norm).exp()
    expected = torch.full((factors,), float(n), dtype=torch.float64)
    error = squares.std(0) / sqrt(trials)
    assert ((squares.mean(0) - expected).abs() < 5 * error).all()


# The rate, and the entries


def test_the_rate_is_the_growth_of_the_first_unit_vector(drawn):
    trace = random_product(4, 7, trials=6, std=1.3, dtype=torch.float64)
    vector = torch.eye(4, dtype=torch.float64)[:, :1]
    for factor in drawn:
        vector = 1.3 * factor @ vector
    torch.testing.assert_close(trace.rate, torch.linalg.vector_norm(vector, dim=(1, 2)).log() / 7)


@pytest.mark.parametrize(("n", "factors"), [(1, 5), (2, 1), (4, 2), (16, 10), (64, 100)])
def test_the_rate_has_mean_lambda_1_and_the_chi_squared_spread_at_any_length(n, factors):
    trials = 200 if n == 64 else 10_000
    rate = random_product(n, factors, trials=trials).rate
    sd = sqrt(variance_per_step(n) / factors)
    assert abs(float(rate.mean() - gaussian_lyapunov_exponents(n)[0])) < 5 * sd / sqrt(trials)
    # ln χ² has a kurtosis of up to 7 (one degree of freedom), which widens the error of a standard deviation.
    assert abs(float(rate.std()) / sd - 1) < 5 * sqrt((2 + 4 / factors) / (4 * (trials - 1))) + 0.01


def test_log10_entries_are_those_of_the_whole_product(drawn):
    trace = random_product(3, 4, trials=5, dtype=torch.float64)
    product = drawn[3] @ drawn[2] @ drawn[1] @ drawn[0]
    torch.testing.assert_close(trace.log10_entries, product.abs().log10())


def test_an_entry_of_zero_has_log10_minus_infinity():
    trace = products.ProductTrace(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
    assert trace.log10_entries[0].tolist() == [[0, -torch.inf], [-torch.inf, -torch.inf]]


# lyapunov_trace


def test_the_stretches_of_diagonal_matrices_are_the_sums_of_their_logarithms():
    diagonals = torch.tensor([[4.0, 0.5], [2.0, -0.25], [1.0, 8.0]])
    trace = lyapunov_trace(torch.diag_embed(diagonals))
    torch.testing.assert_close(trace.log_stretch, diagonals.double().abs().log().cumsum(0))
    torch.testing.assert_close(trace.exponents, diagonals.double().abs().log().mean(0))


def test_the_first_matrix_acts_first():
    rotate, stretch = torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert lyapunov_trace(torch.stack([rotate, stretch])).log_stretch[-1, 0] == pytest.approx(0, abs=1e-12)
    assert lyapunov_trace(torch.stack([stretch, rotate])).log_stretch[-1, 0] == pytest.approx(log(3))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 6), factors=st.integers(1, 8), seed=st.integers(0, 2**40))
def test_direction_1_is_a_fixed_vector_and_all_directions_together_are_the_volume(n, factors, seed):
    matrices = gaussian_matrices(2, factors, n, n, seed=seed)
    log_stretch = lyapunov_trace(matrices).log_stretch
    product = torch.eye(n, dtype=torch.float64)
    for matrix in matrices.unbind(1):
        product = matrix @ product
    torch.testing.assert_close(log_stretch[:, -1, 0], product[:, :, 0].norm(dim=1).log(), rtol=1e-6, atol=1e-6)
    volume = torch.linalg.slogdet(matrices).logabsdet.sum(1)  # of each factor: the product's own is rounded away
    torch.testing.assert_close(log_stretch[:, -1].sum(1), volume, rtol=1e-6, atol=1e-6)


def test_leading_axes_are_independent_products():
    matrices = gaussian_matrices(2, 3, 5, 4, 4)
    together = lyapunov_trace(matrices).log_stretch
    assert together.shape == (2, 3, 5, 4)
    torch.testing.assert_close(lyapunov_trace(matrices[1, 2]).log_stretch, together[1, 2])
    torch.testing.assert_close(lyapunov_exponents(matrices), together[..., -1, :] / 5)


def test_whole_numbers_and_small_dtypes_are_fine():
    matrices = torch.tensor([[[2, 0], [0, 3]]])
    for dtype in (torch.int64, *DTYPES):
        torch.testing.assert_close(lyapunov_exponents(matrices.to(dtype)), torch.tensor([2.0, 3.0]).double().log())


def test_a_singular_matrix_stretches_by_minus_infinity():
    assert lyapunov_exponents(torch.tensor([[[1.0, 1.0], [1.0, 1.0]]]))[1] < -30
    assert lyapunov_exponents(torch.zeros(1, 2, 2)).tolist() == [-torch.inf, -torch.inf]


def test_the_exponents_of_gaussian_matrices_are_newmans():
    factors, trials = 50, 2000
    measured = lyapunov_exponents(gaussian_matrices(trials, factors, 4, 4)).mean(0)
    spread = torch.tensor([variance_per_step(n) for n in (4, 3, 2, 1)], dtype=torch.float64).sqrt()
    assert ((measured - gaussian_lyapunov_exponents(4)).abs() < 5 * spread / sqrt(factors * trials)).all()


# Closed forms


@settings(deadline=None)
@given(n=st.integers(1, 500), std=st.floats(1e-3, 1e3))
def test_the_closed_form_falls_from_direction_to_direction_and_shifts_with_ln_std(n, std):
    exponents = gaussian_lyapunov_exponents(n, std)
    assert exponents.shape == (n,) and (exponents.diff() < 0).all()
    torch.testing.assert_close(exponents, gaussian_lyapunov_exponents(n) + log(std))


def test_at_the_critical_std_the_top_exponent_is_zero():
    for n in (1, 4, 100):
        assert float(gaussian_lyapunov_exponents(n, critical_std(n))[0]) == pytest.approx(0, abs=1e-12)
        assert critical_std(n) > 1 / sqrt(n)


# The reference table


@rows("lyap.top")
def test_truth_top_exponent(row):
    n, value = row["inputs"]["n"], row["value"]
    top = float(gaussian_lyapunov_exponents(n, row["inputs"]["s"])[0])
    tolerance = row["tolerance"]["rel"]
    assert top == pytest.approx(value["lambda1"], rel=tolerance)
    assert top / LN10 == pytest.approx(value["log10_per_layer"], rel=tolerance)
    assert critical_std(n) == pytest.approx(value["critical_s"], rel=tolerance)
    assert critical_std(n) * sqrt(n) == pytest.approx(value["critical_over_naive"], rel=tolerance)
    assert sqrt(variance_per_step(n)) == pytest.approx(value["sd_per_step"], rel=tolerance)


@rows("lyap.spectrum")
def test_truth_spectrum(row):
    exponents = gaussian_lyapunov_exponents(row["inputs"]["n"], row["inputs"]["s"])
    assert exponents.tolist() == pytest.approx(row["value"]["lambda"], rel=row["tolerance"]["rel"])
    assert float(exponents.sum()) == pytest.approx(row["value"]["sum=E log|det|"], rel=row["tolerance"]["rel"])


@rows("lyap.lognorm")
def test_truth_length_of_a_fixed_vector(row):
    n, std, factors = (row["inputs"][key] for key in ("n", "s", "L"))
    mean, sd, trials = row["value"]["mean_log10"], row["value"]["sd_log10"], 4000
    predicted = factors * float(gaussian_lyapunov_exponents(n, std)[0]) / LN10
    assert predicted == pytest.approx(mean, rel=row["tolerance"]["rel"], abs=1e-12)
    measured = factors * random_product(n, factors, std=std, trials=trials).rate / LN10
    assert abs(float(measured.mean()) - mean) < 5 * sd / sqrt(trials)
    assert abs(float(measured.std()) - sd) < 5 * sd / sqrt(2 * trials)


@rows("lyap.jensen")
def test_truth_mean_and_typical_square(row):
    n, std, factors = (row["inputs"][key] for key in ("n", "s", "L"))
    value, within = row["value"], row["tolerance"]["abs"]
    typical = 2 * factors * float(gaussian_lyapunov_exponents(n, std)[0]) / LN10
    assert typical == pytest.approx(value["log10_typical_sq"], abs=within)
    gap = 2 * factors * log(critical_std(n) * sqrt(n)) / LN10
    assert gap == pytest.approx(value["log10_gap"], abs=within)
    assert typical + gap == pytest.approx(value["log10_mean_sq"], abs=within)


def test_truth_critical_std_of_wide_matrices():
    row = ROWS["lyap.asymptotic"]
    for n, (expected, _) in row["value"].items():
        assert critical_std(int(n)) * sqrt(int(n)) - 1 == pytest.approx(expected, rel=row["tolerance"]["rel"])


def test_truth_width_512():
    value, within = ROWS["lyap.fastai"]["value"], ROWS["lyap.fastai"]["tolerance"]["rel"]
    top = float(gaussian_lyapunov_exponents(512)[0])
    steps = (log(torch.finfo(torch.float32).max) - log(512) / 2) / top  # an input of N(0, 1) has length √n
    assert top / LN10 == pytest.approx(value["log10_rate_indep"], rel=within)
    assert steps == pytest.approx(value["steps_to_float32_max_indep"], rel=within)


@rows("iso.cond_rate")
def test_truth_condition_number(row):
    exponents = gaussian_lyapunov_exponents(row["inputs"]["n"])
    rate = float(exponents[0] - exponents[-1])
    assert rate == pytest.approx(row["value"]["rate_nats_per_layer"], rel=row["tolerance"]["rel"])
    log10 = row["inputs"]["L"] * rate / LN10
    assert log10 == pytest.approx(row["value"]["log10_cond_at_L_asymptotic"], rel=row["tolerance"]["rel"])


def test_truth_orthogonal_matrices_stretch_all_directions_alike():
    row = ROWS["iso.orthogonal"]
    orthogonal = torch.linalg.qr(gaussian_matrices(row["inputs"]["L"], 32, 32)).Q
    for gain, expected in row["value"].items():
        stretch = lyapunov_trace(float(gain) * orthogonal).log_stretch[-1].exp()
        assert stretch.tolist() == pytest.approx([expected] * 32, rel=row["tolerance"]["rel"])


def test_truth_a_row_of_the_sources_product(source_products):
    value = ROWS["d2l.fixedvec"]["value"]
    top = 101 * float(gaussian_lyapunov_exponents(4)[0]) / LN10
    assert top == pytest.approx(value["mean_log10"], rel=1e-8)
    lengths = 101 * source_products.rate / LN10
    assert abs(float(lengths.mean()) - value["mean_log10"]) < 5 * value["sd_log10"] / sqrt(100_000)


@pytest.mark.parametrize("row", ["d2l.frob", "d2l.entry"])
def test_truth_the_size_of_the_sources_product(source_products, row):
    value, error = ROWS[row]["value"], ROWS[row]["value"]["sd"] * sqrt(1 / 100_000 + 1 / 200_000)
    entry = source_products.log10_entries[:, 0, 0]
    sizes = entry if row == "d2l.entry" else source_products.log_norm[:, -1] / LN10
    assert abs(float(sizes.mean()) - value["mean"]) < 5 * error
    assert abs(float(sizes.std()) - value["sd"]) < 5 * error
    for name, share in (("q05", 0.05), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("q95", 0.95)):
        assert float(sizes.quantile(share)) == pytest.approx(value[name], abs=0.08), name


@pytest.mark.parametrize("row", ["d2l.cdf_entry", "d2l.cdf_maxentry"])
def test_truth_the_distribution_of_the_sources_entries(source_products, row):
    entries = source_products.log10_entries
    sizes = entries[:, 0, 0] if row == "d2l.cdf_entry" else entries.amax((1, 2))
    for threshold, share in ROWS[row]["value"].items():
        assert float((sizes < float(threshold)).double().mean()) == pytest.approx(
            share, abs=ROWS[row]["tolerance"]["abs"]
        )


def test_truth_a_stored_print_of_the_sources_product(source_products):
    row = ROWS["d2l.stored_tf_print"]
    matrix, value = torch.tensor(row["inputs"]["matrix"], dtype=torch.float64), row["value"]
    values = torch.linalg.svdvals(matrix)
    assert float(values[1] / values[0]) == pytest.approx(value["sigma2_over_sigma1_of_print"], rel=1e-3)
    entries = source_products.log10_entries
    for sizes, printed, name in (
        (source_products.log_norm[:, -1] / LN10, matrix.norm(), "percentile_frob"),
        (entries.amax((1, 2)), matrix.abs().max(), "percentile_max"),
        (entries.amin((1, 2)), matrix.abs().min(), "percentile_min"),
    ):
        percentile = 100 * float((sizes < printed.log10()).double().mean())
        assert percentile == pytest.approx(value[name], abs=row["tolerance"]["percentile_abs"]), name


# Pictures


def test_a_product_trace_draws_a_median_a_band_and_its_labels():
    ax = random_product(trials=20).plot(label="20 products")
    assert len(ax.lines) == 1 and len(ax.collections) == 1 and len(ax.lines[0].get_xdata()) == 100
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of factors", "log₁₀ norm of the product")
    assert random_product(trials=20).plot(ax) is ax and len(ax.lines) == 2


def test_a_lyapunov_trace_names_each_direction_unless_there_are_too_many():
    ax = lyapunov_trace(gaussian_matrices(5, 10, 4, 4)).plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"direction {i}" for i in range(1, 5)]
    wide = lyapunov_trace(gaussian_matrices(10, 9, 9)).plot()
    assert len(wide.lines) == 9 and wide.get_legend() is None


def test_a_result_shows_its_shapes():
    assert repr(random_product(2, 3, trials=4)) == "ProductTrace(log_norm: 4×3 float64, direction: 4×2×2 float32)"


# Bad input


@pytest.mark.parametrize("name", ["n", "factors", "trials"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", None])
def test_sizes_that_are_not_whole_numbers_of_at_least_1_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value!r}"):
        random_product(**{name: value})


@pytest.mark.parametrize("std", [0, 0.0, -1.0, float("inf"), float("nan")])
def test_a_std_that_is_not_positive_and_finite_is_refused(std):
    for call in (lambda: random_product(std=std), lambda: gaussian_lyapunov_exponents(4, std)):
        with pytest.raises(ValueError, match=f"^std={std}\n"):
            call()


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e5m2, torch.float8_e4m3fn, "float32", 32])
def test_a_dtype_that_cannot_carry_a_product_is_refused(dtype):
    with pytest.raises(ValueError, match="^dtype="):
        random_product(trials=2, dtype=dtype)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta?"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="^device="):
        random_product(trials=2, device=device)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_seed_that_is_not_a_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="^seed="):
        random_product(trials=2, seed=seed)


@pytest.mark.parametrize("shape", [(), (4,), (4, 4), (5, 4, 3), (0, 4, 4), (2, 0, 4, 4), (3, 0, 0)])
def test_matrices_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"^matrices of shape \("):
        lyapunov_trace(torch.ones(shape))


@pytest.mark.parametrize("matrices", [[torch.eye(2)], None, torch.eye(2, dtype=torch.complex64)[None]])
def test_anything_but_a_tensor_of_real_numbers_is_refused(matrices):
    for call in (lyapunov_trace, lyapunov_exponents):
        with pytest.raises(TypeError, match="^matrices of type "):
            call(matrices)


@pytest.mark.parametrize("n", [0, -3, 2.5])
def test_a_width_that_is_not_a_whole_number_of_at_least_1_is_refused(n):
    for call in (gaussian_lyapunov_exponents, critical_std):
        with pytest.raises(ValueError, match="^n="):
            call(n)
