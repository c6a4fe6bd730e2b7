"""The usual mistakes that make infinity and NaN."""

# The usual formula behind a bad number, by the name of the operation that made it.
FORMULAS = {
    "sqrt": "√x has an infinite slope at 0; write torch.sqrt(x + eps), the eps inside the root",
    "norm": "a norm has no slope at 0; write (x.square().sum(-1) + eps).sqrt()",
    "dist": "a distance has no slope at 0; write (difference.square().sum(-1) + eps).sqrt()",
    "std": "a standard deviation has an infinite slope where all entries are equal; take (x.var(-1) + eps).sqrt()",
    "softmax": "a softmax over nothing but -inf is 0/0; mask with torch.finfo(x.dtype).min, or skip fully masked rows",
    "attention": "attention over nothing but masked keys is 0/0; leave one key unmasked, or skip fully masked rows",
    "logsumexp": "logsumexp over nothing but -inf has no gradient; mask with torch.finfo(x.dtype).min",
    "log": "log 0 is -inf; take log_softmax or logsigmoid of the logits, log1p, or clamp the argument",
    "exp": "exp overflows above 88.7 in float32 (11.1 in float16); subtract the largest exponent first",
    "pow": "x ** p with p < 1 has an infinite slope at 0, and large powers overflow; clamp x away from 0",
    "div": "0/0 or x/0; write x / (y + eps), or choose a safe y before torch.where",
    "rsqrt": "1/√0 is infinite; write torch.rsqrt(x + eps)",
    "reciprocal": "1/0 is infinite; add eps to the denominator",
    "acos": "acos and asin have infinite slopes at ±1; clamp to ±(1 - 1e-6)",
    "asin": "acos and asin have infinite slopes at ±1; clamp to ±(1 - 1e-6)",
    "where": "torch.where passes 0 times the gradient of the branch not taken; make that branch's argument safe first",
    "mul": "0 · inf is NaN; mask with torch.where or masked_fill instead of multiplying",
}
