"""What the commands print and write, and how they refuse: a sentence, a way out, exit code 2, nothing half-written."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, VOICE, Weft
from weft.core.deployment_json import decode


def test_plan_prints_a_row_for_each_step_and_writes_json(weft: Weft, tmp_path: Path) -> None:
    path = tmp_path / "new" / "plan.json"
    finished = weft("plan", VOICE, "--json", path)
    assert finished.code == 0, finished.err
    for word in ("think.prefill", "think.decode", "gap 0.00%", "Beside fleets of one accelerator", "KV cache"):
        assert word in finished.out
    assert decode(path.read_bytes(), str(path)).agent == "voice"


def test_plan_to_standard_output_is_json_alone(weft: Weft) -> None:
    finished = weft("plan", VOICE, "--json", "-")
    assert decode(finished.out.encode(), "stdout").slo.name == "interactive"


def test_serving_together_or_apart_is_the_solvers_choice(weft: Weft) -> None:
    prices: dict[str, float] = {}
    for serving in ("any", "aggregated", "disaggregated"):
        finished = weft("plan", VOICE, "--rate", 5, "--serving", serving, "--json", "-")
        plan = decode(finished.out.encode(), "stdout")
        prices[serving] = plan.answer.usd_per_hour
        together = plan.route("think.prefill").pool == plan.route("think.decode").pool
        assert serving == "any" or together == (serving == "aggregated")
        assert bool(plan.handoffs) != together
    assert prices["any"] == pytest.approx(min(prices["aggregated"], prices["disaggregated"]))


def test_split_traffic_is_told(weft: Weft, tmp_path: Path) -> None:
    """More sockets than there are of either kind."""
    few = ("--set", "epyc-9965.count=1", "--set", "xeon-6980p.count=1")
    finished = weft("plan", VOICE, "--rate", 2000, "--split", *few, "--json", tmp_path / "plan.json")
    assert finished.code == 0, finished.err
    assert "Traffic of hear" in finished.out
    plan = decode((tmp_path / "plan.json").read_bytes(), "plan")
    shares = [each for each in plan.shares if each.step == "hear"]
    assert sum(each.share for each in shares) == pytest.approx(1.0)
    assert {each.pool for each in shares} <= {pool.name for pool in plan.pools}


def test_questions_about_a_plan(weft: Weft, tmp_path: Path) -> None:
    finished = weft("plan", VOICE, "--explain", "--why-not", "h100-sxm", "--pareto", tmp_path / "p.png", "--budget", 5)
    assert finished.code == 0, finished.err
    for words in (
        "What one more is worth",
        "one more b200@a",
        "off by 20%",
        "Why not h100-sxm?",
        "J/run",
        "carry at most",
    ):
        assert words in finished.out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_answers_go_into_one_document_with_the_plan(weft: Weft) -> None:
    asked = ("--explain", "--why-not", "h100-sxm", "--pareto", "-", "--budget", 5)
    finished = weft("plan", VOICE, *asked, "--json", "-")
    assert finished.code == 0, finished.err
    document = json.loads(finished.out)
    told = document["answers"]
    assert {each["change"] for each in told["shadow_prices"]} >= {"1 run/s more", "1 ms more ttft_s"}
    assert {each["factor"] for each in told["scenarios"]} == {0.8, 1.2}
    assert told["robust"] is None or told["robust"]["pools"]
    assert {each["step"] for each in told["why_not"]["h100-sxm"]} >= {"think.prefill", "think.decode"}
    front = [(each["usd_per_hour"], each["e2e_s"], each["joules_per_run"]) for each in told["pareto"]]
    assert front[0][0] == pytest.approx(document["answer"]["usd_per_hour"])
    assert told["goodput"]["rate_per_s"] > 50
    assert decode(finished.out.encode(), "stdout").agent == "voice"


def test_what_if_and_compare(weft: Weft, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    weft("plan", VOICE, "--json", first)
    finished = weft("plan", VOICE, "--set", "gaudi3.count=0", "--add", "mi355x:8", "--json", second)
    assert finished.code == 0, finished.err
    assert "gaudi3" not in second.read_text()
    compared = weft("compare", first, second)
    assert compared.code == 0, compared.err
    assert "prefill-gaudi3" in compared.out
    assert weft("compare", first, first).out.count("none") == 2


def test_buying_keeps_to_the_budget(weft: Weft) -> None:
    finished = weft("buy", VOICE, "--rate", 200, "--budget", "100k")
    assert finished.code == 0, finished.err
    assert "to buy" in finished.out
    assert "nothing" in weft("buy", VOICE, "--owned", "--aim", "usd_to_buy").out
    refused = weft("buy", VOICE, "--budget", "1k")
    assert refused.code == 2
    assert "the cheapest costs" in refused.err


def test_opt_runs_a_pipeline(weft: Weft, tmp_path: Path) -> None:
    module = EXAMPLES / "voice_agent.mlir"
    place = "place{fleet=default rate-per-s=5.0 serving=disaggregated}"
    finished = weft("opt", module, "-p", f"split-phases,{place},partition,insert-transfers")
    assert finished.code == 0, finished.err
    assert "kv.transfer" in finished.out
    weft("opt", module, "--generic", "-o", tmp_path / "generic.mlir")
    assert '"llm.call"(' in (tmp_path / "generic.mlir").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "nowhere.py"), "is not a Python file"),
        (("plan", VOICE, "--fleet", "atlantis"), "atlantis"),
        (("plan", VOICE, "--slo", "yesterday"), "yesterday"),
        (("plan", VOICE, "--rate", "-3"), "must be above 0"),
        (("plan", VOICE, "--precision", "fp3"), "fp3"),
        (
            ("plan", VOICE, "--precision", "fp4", "--fleet", "default", "--slo", "interactive", "--rate", "1e9"),
            "inventory",
        ),
        (("plan", VOICE, "--rate", "nan"), "must be above 0"),
        (("plan", VOICE, "--rate", "1e5"), "any one of these is enough: add "),
        (("plan", VOICE, "--energy", "1"), "raise the energy limit to "),
        (("plan", VOICE, "--time-limit", "0.0001"), "no solution within 0.0001 s"),
        (("plan", VOICE, "--time-limit", "0"), "must be above 0"),
        (("plan", VOICE, "--set", "epyc-9965.count=0", "--set", "xeon-6980p.count=0"), "add a CPU to the fleet"),
        (("plan", VOICE, "--pin", "think=h100-sxm", "--pin", "think.decode=gaudi3"), "keep one of the two pins"),
        (("plan", VOICE, "--pin", "hear=h100-sxm"), "pin it elsewhere, or add a CPU"),
        (("plan", VOICE, "--pin", "thunk=h100-sxm"), "names no step of the agent"),
        (("plan", VOICE, "--serving", "self"), "choose among any, aggregated, disaggregated"),
        (("plan", VOICE, "--set", "h100-sxm.colour=3"), "is no change of a fleet"),
        (("plan", VOICE, "--set", "h200.count=3"), "add it with --add"),
        (("plan", VOICE, "--add", "h100-sxm:-3"), "no number of devices"),
        (("plan", VOICE, "--why-not", "t4"), "is not in the fleet"),
        (("plan", VOICE, "--objective", "beauty"), "choose among"),
        (("plan", VOICE, "--budget", "0.001"), "carry no run"),
        (("buy", VOICE, "--budget", "lots"), "no sum of money"),
        (("compare", "nowhere.json", "nowhere.json"), "cannot be read"),
        (("opt", "nowhere.mlir"), "cannot be read"),
        (("opt", EXAMPLES / "voice_agent.mlir", "-p", "fold-spacetime"), "fold-spacetime"),
        (("opt", EXAMPLES / "voice_agent.mlir", "-p", "place{colour=red}"), "colour"),
        (("opt", EXAMPLES / "voice_agent.mlir", "-p", "place"), "run split-phases before place"),
        (("run", VOICE), "exactly one of --text and --wav"),
        (("run", VOICE, "--text", "a", "--wav", "b.wav"), "exactly one of --text and --wav"),
        (("run", VOICE, "--wav", "nowhere.wav"), "cannot be read"),
        (("catalog", "devices", "h100000"), "h100"),
    ],
)
def test_bad_input_is_one_clear_error(
    weft: Weft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finished = weft(*arguments)
    assert finished.code == 2
    assert finished.err.startswith("error: ")
    assert words in finished.err
    assert "→" in finished.err
    assert "Traceback" not in finished.err
    assert list(tmp_path.iterdir()) == [], "nothing is half-written"


ZONES = (
    'name = "two"\n\n[[zone]]\nname = "east"\nlink = "roce-400g"\n\n[[zone]]\nname = "west"\nlink = "roce-400g"\n\n'
    '[[group]]\ndevice = "h100-sxm"\ncount = 8\nzone = "east"\n\n'
    '[[group]]\ndevice = "epyc-9965"\ncount = 2\nzone = "west"\n'
)


@pytest.mark.parametrize(
    ("file", "text", "option", "words"),
    [
        ("floor.toml", 'name = "floor"\nttft_s = 0.002\ntpot_s = 0.02\n', "--slo", ("best is", "raise ttft_s to 0.0")),
        ("late.toml", 'name = "late"\ne2e_s = 0.2\n', "--slo", ("200.0 ms asked", "raise e2e_s to 0.2")),
        ("zones.toml", ZONES, "--fleet", ("think.decode → wants_search", "add links between the zones")),
        ("none.toml", ZONES.replace("count = 8", "count = 0"), "--fleet", ("is 0", "within that limit")),
    ],
)
def test_impossible_objectives_and_fleets_say_what_would_do(
    weft: Weft, tmp_path: Path, file: str, text: str, option: str, words: tuple[str, ...]
) -> None:
    (tmp_path / file).write_text(text)
    finished = weft("plan", VOICE, option, tmp_path / file)
    assert finished.code == 2
    assert all(word in finished.err for word in words), finished.err
    assert "Traceback" not in finished.err


def test_a_fleet_too_small_for_the_model_says_how_much_it_needs(weft: Weft, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        'name = "tiny"\n\n[[zone]]\nname = "a"\nlink = "roce-400g"\n\n'
        '[[group]]\ndevice = "t4"\ncount = 1\nzone = "a"\nprice_usd = 900\n\n'
        '[[group]]\ndevice = "epyc-9965"\ncount = 1\nzone = "a"\n'
    )
    program = tmp_path / "large.py"
    program.write_text(Path(VOICE).read_text().replace("llama-3-8b", "llama-3.1-405b"))
    finished = weft("plan", program, "--fleet", fleet)
    assert finished.code == 2
    assert "GB" in finished.err
    assert "memory" in finished.err


def test_an_unknown_model_names_the_nearest(weft: Weft, tmp_path: Path) -> None:
    program = tmp_path / "typo.py"
    program.write_text(Path(VOICE).read_text().replace("llama-3-8b", "lama-3-8b"))
    finished = weft("plan", program)
    assert finished.code == 2
    assert "llama-3-8b" in finished.err


def test_planning_from_a_plan_tells_what_changed_and_why(weft: Weft, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert weft("plan", VOICE, "--json", path).code == 0
    again = weft("plan", VOICE, "--from", path)
    assert "none" in again.out and "With every step where it was" in again.out
    busier = weft("plan", VOICE, "--from", path, "--rate", 400)
    assert "+700.0%" in busier.out and "more." in busier.out and "Planned again in" in busier.out
    lost = weft("plan", VOICE, "--from", path, "--set", "gaudi3.count=0")
    assert "think.prefill: what it ran on is no more" in lost.out


CALL = """  %r{0} = llm.call "s{0}"(%m{0}) model "llama-3-8b" {{isl = {1} : i64, osl = 60 : i64, max_tokens = 99 : i64}}
    : (!agent.messages) -> !agent.text
  %m{1} = data.apply "s{0}.add"(%m{0}, %r{0}) function "add" {{core_s = 1.0e-4 : f64}} :
    (!agent.messages, !agent.text) -> !agent.messages
"""


def chain(calls: int) -> str:
    """A module of calls one after the other, each with a prompt of a token more."""
    body = "".join(CALL.format(number, number + 1) for number in range(400, 400 + calls))
    head = "func.func @many(%m400: !agent.messages) -> !agent.messages attributes {agent.graph} {\n"
    return f"{head}{body}  func.return %m{400 + calls} : !agent.messages\n}}\n"


def test_planning_from_a_plan_of_alike_steps_tells_what_became_of_their_kinds(weft: Weft, tmp_path: Path) -> None:
    agent, first = tmp_path / "many.mlir", tmp_path / "first.json"
    agent.write_text(chain(8))
    asked = ("plan", agent, "--fleet", "paper", "--slo", "relaxed", "--serving", "disaggregated")
    assert weft(*asked, "--rate", 5, "--json", first).code == 0
    plan = decode(first.read_bytes(), "first")
    gone = ("--set", f"{plan.pools[0].device}.count=0")
    again = weft(*asked, *gone, "--from", first, "--json", tmp_path / "again.json")
    assert again.code == 0, again.err
    assert "prefill and 7 like it: what it ran on is no more" in again.out and "Planned again in" in again.out
    planned = decode((tmp_path / "again.json").read_bytes(), "again")
    assert planned.pools != plan.pools and planned.answer.gap == pytest.approx(0.0, abs=1e-6)


def test_a_plan_of_another_agent_is_no_start(weft: Weft, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    weft("plan", VOICE, "--json", path)
    path.write_text(path.read_text().replace('"agent": "voice"', '"agent": "other"'))
    finished = weft("plan", VOICE, "--from", path)
    assert finished.code == 2
    assert "is a plan of the agent 'other'" in finished.err
    assert weft("plan", VOICE, "--from", tmp_path / "none.json").code == 2
