"""Rules for sums, products and functions of single elements."""

from __future__ import annotations

from exporters.attaching.rule import BackStep, Names, emit_rule


@emit_rule("Add", "Sum")
def _add(step: BackStep, g: str) -> Names:
    return [step.unbroadcast(g, i) if moves else None for i, moves in enumerate(step.moving)]


@emit_rule("Sub")
def _sub(step: BackStep, g: str) -> Names:
    return [
        step.unbroadcast(g if i == 0 else step.write.emit("Neg", g), i) if moves else None
        for i, moves in enumerate(step.moving)
    ]


@emit_rule("Mul")
def _mul(step: BackStep, g: str) -> Names:
    return [
        step.unbroadcast(step.write.emit("Mul", g, step.value(1 - i)), i) if moves else None
        for i, moves in enumerate(step.moving)
    ]


@emit_rule("Div")
def _div(step: BackStep, g: str) -> Names:
    write = step.write
    share = write.emit("Div", g, step.value(1))
    to_a = step.unbroadcast(share, 0) if step.moving[0] else None
    to_b = None
    if step.moving[1]:
        to_b = step.unbroadcast(write.emit("Neg", write.emit("Mul", share, step.result)), 1)
    return [to_a, to_b]


@emit_rule("Neg")
def _neg(step: BackStep, g: str) -> Names:
    return [step.write.emit("Neg", g)]


@emit_rule("Pow")
def _pow(step: BackStep, g: str) -> Names:
    write, power = step.write, step.known(1)
    if power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2:
        slope = write.emit("Mul", step.value(), write.number(2))
        return [step.unbroadcast(write.emit("Mul", g, slope), 0)]
    exponent = write.to_float(step.node.input[1])
    less = write.emit("Pow", step.value(), write.emit("Sub", exponent, write.number(1)))
    return [step.unbroadcast(write.emit("Mul", g, write.emit("Mul", exponent, less)), 0)]


@emit_rule("Sqrt")
def _sqrt(step: BackStep, g: str) -> Names:
    write = step.write
    return [write.emit("Div", g, write.emit("Mul", step.result, write.number(2)))]


@emit_rule("Exp")
def _exp(step: BackStep, g: str) -> Names:
    return [step.write.emit("Mul", g, step.result)]


@emit_rule("Log")
def _log(step: BackStep, g: str) -> Names:
    return [step.write.emit("Div", g, step.value())]


@emit_rule("Reciprocal")
def _reciprocal(step: BackStep, g: str) -> Names:
    write, y = step.write, step.result
    return [write.emit("Neg", write.emit("Mul", g, write.emit("Mul", y, y)))]


@emit_rule("Abs")
def _abs(step: BackStep, g: str) -> Names:
    return [step.write.emit("Mul", g, step.write.emit("Sign", step.value()))]


@emit_rule("Max", "Min")
def _extreme(step: BackStep, g: str) -> Names:
    """To the operand that is taken; where several are equal, in equal parts."""
    write = step.write
    hits = [write.to_float(write.emit("Equal", step.value(i), step.result)) for i in range(len(step.moving))]
    total = hits[0]
    for hit in hits[1:]:
        total = write.emit("Add", total, hit)
    share = write.emit("Div", g, total)
    return [
        step.unbroadcast(write.emit("Mul", share, hit), i) if step.moving[i] else None for i, hit in enumerate(hits)
    ]
