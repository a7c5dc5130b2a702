"""The exception tree.

WeftError                     every refusal: subject, problem, way out
├── InputError                what the user gave is wrong            (exit code 2)
│   ├── CatalogError          unknown device, model, link, objective
│   ├── FleetError            a fleet file says something impossible
│   ├── ProgramError          an agent program cannot be read
│   ├── IRError               a module does not parse or verify
│   ├── CheckpointError       a model directory cannot be loaded
│   ├── AudioError            a wav is silent, broken or not a wav
│   ├── CorpusError           a corpus file is broken
│   ├── ToolCallError         a model wrote a malformed tool call
│   ├── MissingProgramError   an external program is not installed
│   ├── PlanError             no placement was found for the request
│   │   ├── NoPlacementError  none exists: its limits clash
│   │   └── AttainmentError   none was found that holds under its load
│   ├── DeploymentError       a plan file is of another version or program
│   ├── BundleError           a folder is no bundle, or not as it was written; a target is not known
│   ├── TraceError            a line of a trace cannot be read, or stands in the wrong order
│   ├── CapacityError         a sequence can never fit its replica, limits exclude all work
│   └── RequestError          a request asks for what its model cannot do
│       ├── ContextOverflowError  its prompt is longer than the model's context
│       └── NoToolsError          it offers tools, and the model's chat template knows none
└── RunError                  a run failed on the way                (exit code 1)
    ├── CompilerError         a compiler refused its input, crashed, or went over its limits
    ├── OverloadError         more work came than the fleet can do
    ├── DeadlineError         nobody waits for it any more
    ├── NodeDiedError         a node process ended or stopped answering
    ├── StepFailedError       a step raised on its node
    ├── CacheError            a place for KV blocks or conversations is full, down or holds what it should not
    │   └── TierFullError     … is full
    ├── QuotaError            a tenant has used up its share
    └── WireError             a frame is malformed, oversized or not authentic
"""


class WeftError(Exception):
    """One clear refusal: what it is about, what is wrong (value and limit), and the way out."""

    exit_code = 1

    def __init__(self, *, subject: str, problem: str, way_out: str) -> None:
        super().__init__(subject, problem, way_out)
        self.subject = subject
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}; {self.way_out}"


class InputError(WeftError):
    exit_code = 2


class CatalogError(InputError): ...


class FleetError(InputError): ...


class ProgramError(InputError): ...


class IRError(InputError): ...


class CheckpointError(InputError): ...


class AudioError(InputError): ...


class CorpusError(InputError): ...


class ToolCallError(InputError): ...


class MissingProgramError(InputError): ...


class PlanError(InputError): ...


class NoPlacementError(PlanError): ...


class AttainmentError(PlanError): ...


class DeploymentError(InputError): ...


class BundleError(InputError): ...


class TraceError(InputError): ...


class CapacityError(InputError): ...


class RequestError(InputError): ...


class ContextOverflowError(RequestError): ...


class NoToolsError(RequestError): ...


class RunError(WeftError): ...


class CompilerError(RunError): ...


class OverloadError(RunError):
    retry_after_s = 1.0


class DeadlineError(RunError): ...


class NodeDiedError(RunError): ...


class StepFailedError(RunError): ...


class CacheError(RunError): ...


class TierFullError(CacheError): ...


class QuotaError(RunError): ...


class WireError(RunError): ...
