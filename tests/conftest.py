"""What all tests share: `--problems` sizes the planner's oracle test; `--golden` rewrites golden files, with which the
`golden` fixture compares."""

import os
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.effort import THOROUGH

settings.register_profile("weft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("weft")  # machines are noisy: no test fails because one was busy


SLOW = (
    "compiler/codegen/test_numerics.py::*[[]llama*",
    "serve/test_compiled_steps.py::*",
    "serve/test_ranks.py::test_two_ranks_*",
    "serve/test_ranks.py::test_a_model_that_*",
    "runtime/test_engine_compiled.py::*vulkan*",
    "runtime/test_engine_pairs.py::*iree*",
    "runtime/test_engine_pairs.py::*emulated*",
    "runtime/test_engine_pairs.py::*qwen3*",
    "runtime/test_engine_pairs.py::*mixtral*",
    "runtime/test_engine_pairs.py::*llama-torch-torch*",
    "runtime/test_engine_parallel.py::*qwen2*",
    "runtime/test_engine_parallel.py::*mixtral*",
    "runtime/test_engine_parallel.py::test_a_rank_that_dies_is_the_engines_death",
    "runtime/test_engine_parallel.py::test_the_shares_of_all_ranks_are_the_whole*4*",
    "serve/api/test_programs.py::test_a*_graph*",
    "serve/api/test_programs.py::test_an_agent_with_tools",
    "serve/api/test_schemathesis.py::*",
    "serve/runs/test_kill.py::test_a_run_may_be_killed_anywhere",
    "runtime/test_memory_stores.py::*lance*",
    "runtime/test_memory_stores.py::*qdrant*",
    "runtime/test_tools.py::test_mcp_over_http*",
    "compiler/codegen/test_numerics.py::*qwen3*",
    "compiler/codegen/test_numerics.py::*mixtral*",
    "compiler/codegen/test_numerics.py::*vulkan*",
    "compiler/codegen/test_numerics.py::*float16*",
    "compiler/codegen/test_numerics.py::test_several_prompts_are_prefilled_at_once",
    "compiler/codegen/test_numerics.py::test_embeddings_and_hidden_states_are_those_of_transformers",
    "compiler/codegen/test_numerics.py::test_a_decoder_embeds_by_its_pooled_hidden_states",
    "compiler/codegen/test_numerics.py::test_kv_of_another_model_is_refused",
    "compiler/codegen/test_end_to_end.py::*",
    "compiler/codegen/test_direct.py::*transformers*",
    "compiler/codegen/test_direct.py::*int8_stay*",
    "compiler/codegen/test_direct.py::test_kv_moves*",
    "compiler/codegen/test_direct.py::test_a_small_model*",
    "compiler/codegen/test_direct.py::test_without_a_gpu*",
    "cli/test_bundle_runs.py::test_a_compiled*",
    "cli/test_commands.py::test_questions_about_a_plan",
    "cli/test_commands.py::test_answers_go_into_one_document_with_the_plan",
    "cli/test_commands.py::test_planning_from_a_plan*",
    "cli/test_run.py::test_emulated_runs_say_so_everywhere",
    "cli/test_run.py::test_a_checkpoint_of_an_unknown_architecture_is_refused",
    "cli/test_serve.py::test_a*",
    "cli/test_simulate.py::test_overload_is_an_error_after_its_tables",
    "cli/test_together.py::test_two_agents_share_a_fleet",
    "cli/test_together.py::test_a_share_of_runs_may_be_promised",
    "compiler/agentspec/*",
    "compiler/langgraph/test_harness.py::test_factories_notebooks_repositories_and_graphs_without_a_name",
    "compiler/langgraph/test_harness.py::test_what_cannot_be_read_is_one_clear_error*",
    "compiler/langgraph/test_chains.py::*",
    "compiler/langgraph/test_programs.py::*",
    "compiler/langgraph/test_styles.py::test_a_method_that_asks_for_nothing_makes_the_graph",
    "compiler/langgraph/test_examples.py::test_edges*custom*",
    "compiler/langgraph/test_examples.py::test_edges*hierarchical*",
    "compiler/langgraph/test_examples.py::test_edges*single_agent*",
    "compiler/langgraph/test_examples.py::test_edges*voice*",
    "compiler/langgraph/test_examples.py::test_an_imported_agent_is_planned*",
    "compiler/test_python_examples.py::*",
    "compiler/test_opt_in.py::*",
    "control/test_ray.py::*",
    "control/test_validate.py::*",
    "compiler/test_pipeline.py::test_impossible_requests_are_refused*",
    "plan/test_decompose.py::*",
    "plan/test_large.py::test_the_search_repeats_itself",
    "plan/test_questions.py::test_the_relaxation_is_a_bound",
    "plan/test_solve.py::test_solving_repeats_exactly",
    "plan/test_split.py::test_two_formulations_agree",
    "sim/test_oracles.py::test_cores_are_an_m_m_c_queue*",
    "sim/test_memory.py::*little*",
    "sim/test_memory.py::*split*",
    "study/test_command.py::*",
    "serve/test_never_lose.py::test_killed_processes_lose_no_request",
    "study/test_fidelity.py::test_the_goals_are_met_on_kept_out_configurations",
    "study/test_never_loses.py::*",
    "study/test_retention.py::*",
    "study/test_simulated.py::*",
    "study/test_sweep.py::test_the_choice_is_what_trying_every_batch_finds*offline*",
)
"""Left out without --slow (`make test-all`): each costs many seconds, most of them on compilers and child processes."""


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--slow"):
        os.environ[THOROUGH] = "yes"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    left_out = [item for item in items if any(fnmatch(item.nodeid, f"tests/{pattern}") for pattern in SLOW)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--problems", type=int, default=30, help="random problems on which the solver meets its oracle")
    parser.addoption("--slow", action="store_true", help="also what CI has no time for: see SLOW in tests/conftest.py")
    parser.addoption("--golden", action="store_true", help="rewrite golden files instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("plan.txt", text)`: the text equals golden/plan.txt beside the test file."""

    def compare(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; make golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if that is meant, run make golden"

    return compare
