"""Faults that only training shows: rules on a run of records, where those of `diagnosis` look at a single step."""

from collections.abc import Callable, Sequence
from math import inf, isfinite, isnan, nan
from statistics import median
from typing import Any

from ..diagnosis.findings import Finding

Record = dict[str, Any]

TRENDS: dict[str, str] = {
    "standing_still": "gradients are as large as ever, and the steps of the optimizer no longer move the weights",
    "gradients_kept": "the gradients of earlier steps are still there when new ones are added",
    "accumulation": "the gradients of several batches are added without being divided by their number",
    "collapsed": "all samples come to be answered alike: the outputs run together into one point",
    "posterior_collapse": "a code with noise carries nothing any more: what it is drawn from is the same for all samples",
    "runaway": "outputs and gradients grow while the loss rises, as when targets follow the outputs",
    "loss_spike": "the loss jumps far above all that it was",
    "adversary_ahead": "one of two networks is so sure that the other gets no gradient from it",
    "attention_collapse": "each query comes to look at a single key, and logits are so large that it stays so",
    "uneven_groups": "the steps of one parameter group are a thousand times larger than another's, each for its weights",
}
# Faults after which each of these is nothing new.
CAUSES: dict[str, set[str]] = {
    "collapsed": {"dead", "saturated", "vanishing", "non_finite_forward", "non_finite_backward"},
    "standing_still": {"dead", "saturated", "vanishing", "loss_spike", "adversary_ahead"},
    "runaway": {"exploding", "loss_spike"},
}
WINDOW = 40  # records that are looked at

Rule = Callable[[Sequence[Record]], Finding | None]


def trends_in(records: Sequence[Record], known: set[str]) -> list[Finding]:
    """What the rules say of the newest record, by those before it and the first; known faults are not asked for again."""
    records = [*records[:1], *records[1:][-WINDOW:]]
    records = [each for each in records if each.get("facts")]  # a checkpoint of an older release has none
    if not records or not isfinite(records[-1]["facts"]["gradient"]):
        return []
    asked = [rule for rule in RULES if not known & {rule.__name__, *CAUSES.get(rule.__name__, ())}]
    return [finding for rule in asked if (finding := rule(records)) is not None]


def _facts(records: Sequence[Record], name: str) -> list[float]:
    return [each["facts"][name] for each in records]


def _learned(records: Sequence[Record]) -> bool:
    """Whether the loss has fallen to half of the first one."""
    losses = [each["loss"] for each in records if isfinite(each["loss"])]
    return len(losses) > 1 and losses[0] > 0 and median(losses[-3:]) < losses[0] / 2


_STILL, _PATIENCE = 1e-6, 10


def standing_still(records: Sequence[Record]) -> Finding | None:
    """Ratios that are 0 or nearly so, or fell a thousandfold within 20 records, under gradients that stayed."""
    last = records[-20:]
    ratios, gradients = _facts(last, "ratio"), _facts(last, "gradient")
    stayed = 0 < records[0]["facts"]["gradient"] < 10 * median(gradients[-3:])  # a run that has converged has none left
    if not stayed or _learned(records) or any(map(isnan, ratios)):
        return None
    # Within 20 records no schedule that serves falls by so much, but for the last record of one that ends at 0.
    fell = len(ratios) > 3 and max(ratios[-3:]) < 1e-3 * max(ratios)
    still = len(ratios) >= _PATIENCE and max(ratios[-_PATIENCE:]) < _STILL
    if not fell and not still:
        return None
    told = f"the ratio of an update to its weight is {ratios[-1]:.1g}"
    told += f", after {max(ratios):.1g}" if fell else f" for {_PATIENCE} records"
    told += f", while the gradient's norm is {gradients[-1]:.2g}; 1e-3 is usual"
    rates = [rate for _, _, rate in last[-1]["facts"]["groups"]]
    if rates:
        told += f"; the learning rate is {max(rates):.1g}"
    remedy = (
        "a schedule in epochs is stepped once per epoch, not per batch; scaler.unscale_(optimizer) before gradients "
    )
    remedy += "are clipped; no rate of 0"
    return Finding("standing_still", "", told, remedy, ratios[-1], 1e-3)


def gradients_kept(records: Sequence[Record]) -> Finding | None:
    """Gradients that are there before the first backward pass of a step."""
    last = records[-3:]
    if len(last) < 3 or not all(each["facts"]["kept"] and each["facts"]["ratio"] > 0 for each in last):
        return None
    told = "before the first backward pass of a step, gradients already hold those of the steps before; 0 is expected"
    return Finding("gradients_kept", "", told, "optimizer.zero_grad() once in every step, before backward()", 1.0, 0.0)


def accumulation(records: Sequence[Record]) -> Finding | None:
    """A mean cross-entropy whose gradients are larger than any mean can have.

    Of softmax and cross-entropy a sample's gradient is (p − y) / N, of a norm of at most √2 / N. So the root of N times
    the norm over all N samples of a step is at most √2, however wrong the answers are.
    """
    last = records[-3:]
    excesses = _facts(last, "excess")
    passes = min(each["facts"]["backwards"] for each in last)
    several = any(each["facts"]["called"] > 1 for each in last)  # networks, whose gradients do not add up
    if len(last) < 3 or passes < 2 or several or not min(excesses) > max(2.0, passes / 2):
        return None
    told = (
        f"the gradients of {passes} batches are added in a step: over all samples they are {excesses[-1]:.2g} times as "
    )
    told += "large as those of a mean cross-entropy can be"
    remedy = f"(loss / {passes}).backward(), or a learning rate {passes} times smaller"
    return Finding("accumulation", "", told, remedy, excesses[-1], 1.0)


_POINT = 0.05  # of what outputs differed by before, and of their size: those that fit a large mean keep the first


def collapsed(records: Sequence[Record]) -> Finding | None:
    """Outputs that differed between samples, and no longer do."""
    spreads = _facts(records, "spread")
    known = [each for each in spreads[:-3] if isfinite(each)]
    sizes = _facts(records[-3:], "size")
    now = max(spreads[-3:])
    if not known or not now < _POINT * max(known) or not all(a < _POINT * b for a, b in zip(spreads[-3:], sizes)):
        return None
    label = records[-1]["facts"]["answer"]
    told = f"the outputs of {label} differ between samples by {now:.1g}, after {max(known):.2g}, and are {sizes[-1]:.2g} large"
    remedy = (
        "a smaller learning rate, and a loss that one point does not minimize: softer negatives, a stopped gradient on "
    )
    remedy += "one branch, a term for the variance; weights from a checkpoint before this step"
    return Finding("collapsed", label, told, remedy, now, max(known))


def posterior_collapse(records: Sequence[Record]) -> Finding | None:
    """A layer of a model that draws noise in its pass, whose outputs have come to be 0 for all samples.

    Both the mean of a code and the logarithm of its variance are 0 where the Kullback–Leibler term is.
    """
    if len(records) < 6 or not all(each["facts"]["noise"] for each in records):
        return None
    moments = {label: [] for label in records[-1]["layers"] if label != records[-1]["facts"]["answer"]}
    for each in records:
        column = dict(zip(each["layers"], each["numbers"][:, 0].tolist()))
        for label, values in moments.items():
            values.append(column.get(label, nan))
    fallen = {
        label: values
        for label, values in moments.items()
        if 0 < max(values[-3:]) < 0.01 and max(values[-3:]) < 0.1 * max(values)
    }
    if not fallen or len(fallen) > len(moments) / 2:  # most layers: signals vanish altogether
        return None
    label, values = min(fallen.items(), key=lambda each: each[1][-1])
    told = f"the second moment of {label} fell from {max(values):.2g} to {values[-1]:.1g}, in a pass that draws noise: the "
    told += f"code says {values[-1] / 2:.1g} nats per unit at most"
    remedy = "let the weight of the Kullback–Leibler term grow from 0 over the first epochs, or give it free bits; a weaker decoder"
    return Finding("posterior_collapse", label, told, remedy, values[-1], max(values))


def runaway(records: Sequence[Record]) -> Finding | None:
    """Outputs that grow from block to block of records, with the gradients, while the loss rises."""
    if len(records) < WINDOW:
        return None
    blocks = [records[start : start + WINDOW // 4] for start in range(len(records) - WINDOW, len(records), WINDOW // 4)]
    size, gradient = ([median(_facts(block, name)) for block in blocks] for name in ("size", "gradient"))
    loss = [median([each["loss"] for each in block]) for block in blocks]
    grows = size[0] < size[1] < size[2] < size[3] and size[3] > 1.5 * size[0] > 0 and gradient[3] > 1.5 * gradient[0]
    if not grows or not loss[3] > 1.3 * min(loss) or not loss[3] > loss[0]:
        return None
    label = records[-1]["facts"]["answer"]
    told = f"over {WINDOW} records the outputs of {label} grew from {size[0]:.2g} to {size[3]:.2g}, gradients from "
    told += f"{gradient[0]:.2g} to {gradient[3]:.2g}, and the loss from {min(loss):.2g} to {loss[3]:.2g}; towards targets that stay it falls"
    remedy = "targets from the network itself: a slower target network (0.005 per step), two of them and the smaller answer, "
    remedy += "a smaller discount; targets that stay: a smaller learning rate"
    return Finding("runaway", label, told, remedy, size[3], size[0])


def loss_spike(records: Sequence[Record]) -> Finding | None:
    """A loss far above the last twenty, and above half of the first."""
    losses = [each["loss"] for each in records]
    before = [each for each in losses[-21:-1] if isfinite(each)]
    first = next((each for each in losses if isfinite(each)), nan)
    if len(before) < 10 or not losses[-1] > max(4 * max(before), first / 2) or not min(before) >= 0:
        return None
    usual = median(before)
    label, quantity, factor, ago = _moved_first(records)
    told = f"the loss is {losses[-1]:.2g} and was {usual:.2g}, never above {max(before):.2g}, in {len(before)} records before"
    if label:
        place = "in this record" if not ago else f"{ago} record{'s' * (ago > 1)} before"
        told += f"; the first to move was the {quantity} of {label}, {factor:.2g} times its usual, {place}"
    remedy = "go back to a checkpoint from before; clipped gradients, a smaller learning rate or a larger eps of Adam; look at the batch"
    return Finding("loss_spike", label, told, remedy, losses[-1], usual)


def _moved_first(records: Sequence[Record]) -> tuple[str, str, float, int]:
    """Label, quantity, factor and how many records ago: what left its usual range first, by a factor of 3.

    Within a record signals move before gradients, the first layer's signal and the last layer's gradient first.
    """
    found = ("", "", 1.0, -1)
    earlier = records[-21:-5] if len(records) > 10 else records[:-1]
    for column, quantity in ((0, "second moment"), (2, "squared gradient")):
        usual = [dict(zip(each["layers"], each["numbers"][:, column].tolist())) for each in earlier]
        for ago, each in enumerate(reversed(records[-5:])):
            numbers = list(zip(each["layers"], each["numbers"][:, column].tolist()))
            for label, value in numbers if column == 0 else reversed(numbers):
                known = [row[label] for row in usual if label in row]
                if known and ago > found[3] and value > 3 * max(known) > 0:
                    found = (label, quantity, value / median(known), ago)
    return found


def adversary_ahead(records: Sequence[Record]) -> Finding | None:
    """Of two networks that are called one after the other: gradients lost in one, answers that are sure in the other."""
    parts = records[-1]["facts"]["parts"]
    if len(records) < 8 or len(parts) < 2 or not all(each["facts"]["parts"].keys() == parts.keys() for each in records):
        return None
    for name in parts:
        gradients = [each["facts"]["parts"][name][0] for each in records]
        others = [other for other in parts if other != name]
        sizes = {other: min(each["facts"]["parts"][other][1] for each in records[-3:]) for other in others}
        sure = max(sizes, key=lambda other: sizes[other])
        if 0 <= max(gradients[-3:]) < 1e-2 * max(gradients[:-3]) and sizes[sure] > 5:
            told = f"the gradient that {name} gets is {gradients[-1]:.1g}, after {max(gradients):.2g}, and the answers of {sure} "
            told += f"are {sizes[sure]:.2g} large: where it is so sure its slope is 0"
            remedy = f"a loss of {name} that does not saturate, -log D(G(z)); fewer steps or a smaller rate for {sure}, a penalty "
            remedy += "on its gradient, or noise on its inputs"
            return Finding("adversary_ahead", name, told, remedy, gradients[-1], max(gradients))
    return None


_LARGE_LOGIT = 30.0  # e^-30 is less than float32's smallest step below 1: where the softmax is flat


def attention_collapse(records: Sequence[Record]) -> Finding | None:
    """Attention whose entropy fell towards 0 while its logits grew beyond where a softmax has slopes."""
    if len(records) < 4:
        return None
    for label, (now, logit) in records[-1]["attention"].items():
        past = [each["attention"].get(label, (nan, nan)) for each in records]
        entropies, logits = ([row[column] for row in past] for column in (0, 1))
        before = max((each for each in entropies[:-3] if isfinite(each)), default=0.0)
        if (
            max(entropies[-3:]) < 0.2
            and now < 0.5 * before
            and min(logits[-3:]) > _LARGE_LOGIT
            and not _learned(records)
        ):
            told = f"the entropy of the attention in {label} fell from {before:.2f} to {now:.2f} of that of equal weights, and "
            told += f"its largest logit is {logit:.2g}; a softmax has no slope there"
            remedy = "normalized queries and keys; a smaller learning rate or a longer warm-up for their projections"
            return Finding("attention_collapse", label, told, remedy, now, before)
    return None


def uneven_groups(records: Sequence[Record]) -> Finding | None:
    """Parameter groups whose update-to-weight ratios differ a thousandfold, over ten records."""
    last = records[-10:]
    groups = [each["facts"]["groups"] for each in last]
    if len(last) < 10 or min(map(len, groups)) < 2 or len({len(each) for each in groups}) > 1:
        return None
    factors, most, low, high = [], 0.0, 0, 0
    for each in groups:
        ratios = [update / weight if weight > 0 and rate > 0 else nan for update, weight, rate in each]
        known = [(ratio, place) for place, ratio in enumerate(ratios) if 0 < ratio < inf]
        if len(known) < 2:
            return None
        (least, low), (most, high) = min(known), max(known)
        factors.append(most / least)
    if min(factors) < 1000:
        return None
    rates = [rate for _, _, rate in groups[-1]]
    told = (
        f"a step changes the weights of parameter group {high} by {most:.1g} of themselves, {factors[-1]:.1g} times as "
    )
    told += f"much as those of group {low}; the learning rates are {rates[high]:.1g} and {rates[low]:.1g}"
    remedy = f"lr of optimizer.param_groups[{low}] and [{high}] such that both ratios are near 1e-3"
    return Finding("uneven_groups", "", told, remedy, factors[-1], 1.0)


RULES: tuple[Rule, ...] = (
    gradients_kept,
    accumulation,
    standing_still,
    uneven_groups,
    loss_spike,
    attention_collapse,
    posterior_collapse,
    adversary_ahead,
    collapsed,
    runaway,
)
