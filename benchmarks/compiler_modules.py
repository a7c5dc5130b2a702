"""Agents of any size for benchmarks/compiler.py: a chain of stages, every third a loop, with steps side by side."""

STAGE_STEPS = 10


def agent_of(steps: int) -> str:
    """Text of a module with so many steps: a tenth are model calls, a tenth searches, the rest data steps."""
    stages = max(1, steps // STAGE_STEPS)
    blocks = "".join(_stage(number, stages) for number in range(stages))
    return (
        "func.func @big(%chat: !agent.messages) -> !agent.messages attributes {agent.graph} {\n"
        f"  cf.br ^s0(%chat : !agent.messages)\n{blocks}"
        f"^s{stages}(%end: !agent.messages):\n  func.return %end : !agent.messages\n}}\n"
    )


def _stage(number: int, stages: int) -> str:
    name, model = f"s{number}", "llama-3-70b" if number % 10 == 0 else "llama-3-8b"
    core = "core_s = 1.0e-4 : f64"
    m, t = "!agent.messages", "!agent.text"
    lines = [
        f"^{name}(%{name}: {m}):",
        (
            f'  %{name}r = llm.call "{name}.think"(%{name}) model "{model}" '
            f"{{isl = {400 + 10 * (number % 40)} : i64, osl = 60 : i64, max_tokens = 200 : i64}} : ({m}) -> {t}"
        ),
        f'  %{name}q = data.apply "{name}.query"(%{name}r) function "query" {{{core}}} : ({t}) -> {t}',
        (
            f'  %{name}d = tool.invoke "{name}.search"(%{name}q) tool "search" '
            f'{{corpus = "c", core_s = 0.01 : f64}} : ({t}) -> {t}'
        ),
        *(
            f'  %{name}p{each} = data.apply "{name}.part{each}"(%{name}d) function "f{each}" {{{core}}} : ({t}) -> {t}'
            for each in range(5)
        ),
        (
            f'  %{name}u = data.apply "{name}.join"(%{name}, %{name}p0, %{name}p1, %{name}p2, %{name}p3, %{name}p4) '
            f'function "join" {{{core}}} : ({m}, {t}, {t}, {t}, {t}, {t}) -> {m}'
        ),
        f'  %{name}c = agent.choose "{name}.again"(%{name}u) function "again" {{{core}}} : ({m}) -> i1',
    ]
    back = f"^{name}" if number % 3 == 0 else f"^s{number + 1}"
    lines.append(
        f"  cf.cond_br %{name}c, {back}(%{name}u : {m}), ^s{number + 1}(%{name}u : {m}) "
        f"{{agent.weights = [0.3 : f64, 0.7 : f64], agent.at_most = 3 : i64}}"
    )
    return "\n".join(lines) + "\n"
