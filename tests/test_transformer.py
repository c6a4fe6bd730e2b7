"""A small transformer has the scales and the symmetries that its switches name."""

from functools import partial
from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import initialize_, lecun_normal_, normal_, seeded, train
from d2lstab.datasets import adding_problem, characters
from d2lstab.initializers import deepnorm, deepnorm_pair, residual_factor, tied_embedding_
from d2lstab.networks import Attention, Block, transformer
from d2lstab.randomness import normal
from tests.truth import truth

pytestmark = pytest.mark.slow


def network(**changes) -> nn.Sequential:
    return transformer(**{"vocabulary": 11, "width": 8, "blocks": 2, "heads": 2, "length": 9, **changes})


TOKENS = torch.arange(18).reshape(2, 9) % 11


def branches(model: nn.Module, kind: str) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if isinstance(module, Block) and name.endswith(kind)]


SWITCHES = [
    {},
    {"norm": None},
    {"norm": nn.RMSNorm, "post_norm": True},
    {"with_deepnorm": True},
    {"scaled_residual": True},
    {"tied": True},
    {"skip": 0.0, "norm": None},
    {"causal": False},
    {"qk_norm": True},
    {"dtype": torch.float64},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_each_switch_gives_logits_for_every_step_from_one_seed(switches):
    before = torch.get_rng_state()
    first, again, other = (network(**switches, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    logits = first(TOKENS)
    assert logits.shape == (2, 9, 11)
    assert logits.dtype == switches.get("dtype", torch.float32)
    assert torch.equal(logits, again(TOKENS))
    assert not torch.equal(logits, other(TOKENS))


def test_attention_is_torchs_own():
    attention = Attention(8, 2)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([getattr(attention, n).weight for n in ("query", "key", "value")]))
        theirs.in_proj_bias.copy_(torch.cat([getattr(attention, n).bias for n in ("query", "key", "value")]))
        theirs.out_proj.load_state_dict(attention.output.state_dict())
    h = normal(3, 5, 8, generator=seeded(0))
    expected, _ = theirs(h, h, h, attn_mask=nn.Transformer.generate_square_subsequent_mask(5), need_weights=False)
    torch.testing.assert_close(attention(h), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_a_causal_step_sees_no_later_one(causal):
    model = network(causal=causal, initializer=lecun_normal_, dtype=torch.float64)
    changed = TOKENS.clone()
    changed[:, -1] += 1
    assert torch.equal(model(TOKENS)[:, :-1], model(changed % 11)[:, :-1]) is causal


def test_every_weight_is_drawn_embeddings_too():
    model = transformer(200, 64, 2, initializer=partial(normal_, std=0.02))
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and "norm" not in name:
            assert abs(parameter.square().mean() / 0.02**2 - 1) < 5 * (2 / parameter.numel()) ** 0.5
        elif name.endswith("bias"):
            assert not parameter.any()


@pytest.mark.parametrize("logit_std", [1.0, 0.25])
def test_a_tied_embedding_gives_logits_of_the_size_asked_for(logit_std):
    table = tied_embedding_(torch.empty(4000, 64), logit_std=logit_std, generator=seeded(0))
    logits = normal(50, 64, generator=seeded(1)) @ table.T
    assert abs(float(logits.var()) / logit_std**2 - 1) < 4 * (2 / 50 / 64) ** 0.5  # 50 vectors of 64 entries


def test_tied_embeddings_are_one_parameter():
    model = network(tied=True)
    assert model.output.weight is model.embedding.tokens.weight
    assert len(list(model.parameters())) == len(list(network().parameters())) - 1


def test_pre_norm_stands_in_the_branch_and_post_norm_after_the_addition():
    pre, post = network(), network(post_norm=True)
    assert all(block.norm is None for block in branches(pre, "attention"))
    assert isinstance(pre.norm, nn.LayerNorm)
    assert all(isinstance(block.norm, nn.LayerNorm) for block in branches(post, "attention"))
    assert not hasattr(post, "norm")


def test_without_skips_and_norms_a_block_is_its_branches():
    model = network(skip=0.0, norm=None)
    h = normal(2, 9, 8, generator=seeded(0))
    block = model.block1
    assert torch.equal(block(h), block.feedforward.branch(block.attention.branch(h)))


def test_scaled_residuals_are_the_plain_ones_times_their_factor():
    plain, scaled = network(), network(scaled_residual=True)
    for kind in ("attention", "feedforward"):
        for one, other in zip(branches(plain, kind), branches(scaled, kind)):
            weights = [branch.branch.branch.output.weight for branch in (one, other)]
            torch.testing.assert_close(weights[1], weights[0] * residual_factor(2))


def test_deepnorm_scales_its_skips_and_all_weights_but_queries_and_keys():
    plain, deep = network(post_norm=True), network(with_deepnorm=True)
    constants = deepnorm(2)
    factors = {"query": 1, "key": 1, "value": constants.beta, "output": constants.beta, "linear": constants.beta}
    for kind in ("attention", "feedforward"):
        for one, other in zip(branches(plain, kind), branches(deep, kind)):
            assert other.skip == constants.alpha
            for name, parameter in one.branch.named_parameters():
                if name.endswith("weight"):
                    expected = parameter * factors[name.split(".")[-2]]
                    torch.testing.assert_close(other.branch.get_parameter(name), expected)


@truth("deepnorm.single.N12", "deepnorm.single.N100")
def test_deepnorms_constants_of_the_reference_table(row):
    found = deepnorm(row["inputs"]["N"])
    assert (found.alpha, found.beta) == pytest.approx((row["value"]["alpha"], row["value"]["beta"]), rel=1e-12)


@truth("deepnorm.encdec.N18.M18")
def test_deepnorms_constants_of_two_stacks(row):
    encoder, decoder = deepnorm_pair(row["inputs"]["N"], row["inputs"]["M"])
    value = row["value"]
    assert (encoder.alpha, encoder.beta) == pytest.approx((value["enc_alpha"], value["enc_beta"]), rel=1e-12)
    assert (decoder.alpha, decoder.beta) == pytest.approx((value["dec_alpha"], value["dec_beta"]), rel=1e-12)


def test_scaled_residuals_add_as_much_as_the_input():
    assert residual_factor(12) ** 2 * 24 == pytest.approx(1)


@truth("init.attention_logits")
def test_attention_logits_have_the_variance_of_the_reference_table(row):
    width = row["inputs"]["d"]
    query, key = normal(2, 4000, width, generator=seeded(0), dtype=torch.float64)
    logits = (query * key).sum(1)
    spread = 4 * (8 / 4000) ** 0.5  # four standard errors of a variance whose fourth moment is at most nine
    assert float(logits.var()) == pytest.approx(row["value"]["unscaled"], rel=spread)
    assert float((logits / width**0.5).var()) == pytest.approx(row["value"]["scaled"], rel=spread)


def test_normalized_queries_and_keys_read_the_same_however_long_they_are(monkeypatch):
    attention, h = Attention(8, 2, causal=False, qk_norm=True), normal(3, 5, 8, generator=seeded(0))
    initialize_(attention, lecun_normal_)
    before = attention(h)
    with torch.no_grad():
        for project in (attention.query, attention.key):
            project.weight *= 1000
    torch.testing.assert_close(attention(h), before, atol=1e-4, rtol=1e-4)
    seen = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, **_: seen.append((q, k)) or v)
    attention(h)
    ((q, k),) = seen
    assert (q @ k.mT / 2).abs().max() <= 2.0001  # the root of four entries per head
    torch.testing.assert_close(q.norm(dim=-1), torch.full(q.shape[:-1], 2.0), atol=1e-3, rtol=0)


@truth("preln.toy.L6")
def test_the_stream_of_pre_and_post_norm_has_the_second_moment_of_the_reference_table(row):
    width, depth = 128, row["inputs"]["L"]
    for post, name in ((True, "post_ln_x2"), (False, "pre_ln_x2")):
        found = []
        for seed in range(20):
            h = normal(16, width, generator=seeded(seed))
            generator = seeded(100 + seed)
            for _ in range(depth):
                before = h if post else F.layer_norm(h, (width,))
                first, second = (lecun_normal_(torch.empty(width, width), generator=generator) for _ in range(2))
                added = h + torch.relu(before @ first.T) @ second.T
                h = F.layer_norm(added, (width,)) if post else added
            found.append((added if post else h).square().mean())
        assert float(torch.stack(found).mean()) == pytest.approx(row["value"][name], rel=row["tolerance"]["rel"])


@truth("xiong.statement")
@pytest.mark.parametrize("post_norm", [False, True])
def test_the_last_feedforward_gradient_falls_with_depth_as_the_reference_table_says(row, post_norm):
    found = []
    for seed in range(8):
        norms = []
        for blocks in (4, 32):
            model = transformer(
                64,
                64,
                blocks,
                length=16,
                activation=torch.relu,
                causal=False,
                initializer=lecun_normal_,
                post_norm=post_norm,
                seed=seed,
            )
            h = normal(4, 16, 64, generator=seeded(seed))
            F.cross_entropy(model[1:](h).flatten(0, 1), torch.arange(64)).backward()
            [*_, last] = [parameter for parameter in model.parameters() if parameter.shape == (64, 4 * 64)]
            norms.append(last.grad.norm())
        found.append((norms[1] / norms[0]).log() / log(8))
    expected = row["value"]["post_ln_L_exponent" if post_norm else "pre_ln_L_exponent"]
    assert float(torch.stack(found).mean()) == pytest.approx(expected, abs=row["tolerance"]["abs"])


@pytest.mark.parametrize(
    ("switches", "together"),
    [({}, True), ({"tied": True}, True), ({"qk_norm": True}, True)],
    ids=["plain", "tied", "normed"],
)
def test_transformers_learn_together_as_alone(switches, together):
    data, alphabet = characters(length=8)

    def make(seed):
        return transformer(
            len(alphabet),
            8,
            1,
            heads=2,
            length=8,
            seed=seed,
            initializer=lecun_normal_,
            dtype=torch.float64,
            **switches,
        )

    def per_character(outputs, targets):
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    settings = {"optimizer": partial(torch.optim.Adam, lr=0.01), "loss": per_character, "steps": 5, "batch": 4}
    company = train(make, data, seeds=range(2), progress=False, **settings)
    assert company.together is together
    alone = train(make, data, seeds=[1], progress=False, **settings)
    torch.testing.assert_close(company.loss[1], alone.loss[0])
    torch.testing.assert_close(company.accuracy[1], alone.accuracy[0])
    assert abs(company.loss[:, 0].mean() - log(len(alphabet))) < 3


def test_a_regression_through_a_transformer_is_refused_by_its_embedding():
    data = adding_problem(4, 10)
    with pytest.raises((ValueError, RuntimeError)):
        train(lambda seed: network(), data, optimizer=partial(torch.optim.SGD, lr=0.1), steps=1, batch=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 0}, "vocabulary=0"),
        ({"width": 9}, "width=9 for heads=2\nexpected a width that heads divides"),
        ({"blocks": 0}, "blocks=0"),
        ({"norm": None, "post_norm": True}, "without norm\nexpected norm="),
        ({"norm": None, "with_deepnorm": True}, "without norm\nexpected norm="),
        ({"dtype": torch.int64}, "dtype=torch.int64"),
        ({"device": "cuda:99"}, "cannot be used here"),
    ],
)
def test_bad_input_is_told_what_is_expected(changes, message):
    with pytest.raises(ValueError, match=message):
        network(**changes)


@pytest.mark.parametrize("call", [lambda: residual_factor(0), lambda: deepnorm(0), lambda: deepnorm_pair(3, 0)])
def test_constants_of_no_layers_are_refused(call):
    with pytest.raises(ValueError, match=r"=0 .*\nexpected a whole number"):
        call()
