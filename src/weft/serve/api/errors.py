"""Refusals as OpenAI's clients expect them: an HTTP status and {"error": {message, type, param, code}}."""

import math

from weft.core.errors import (
    ContextOverflowError,
    DeadlineError,
    DeploymentError,
    InputError,
    NodeDiedError,
    NoToolsError,
    OverloadError,
    WeftError,
)

RETRY_AFTER_S = 1


class ApiError(Exception):
    """One answer that is not 2xx. `param` is the field that is wrong; `allow` the methods that are right."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        allow: tuple[str, ...] = (),
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.allow = allow
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, object]:
        return {"error": {"message": str(self), "type": _type(self.status), "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.allow:
            return {"allow": ", ".join(self.allow)}
        return {"retry-after": str(math.ceil(self.retry_after_s))} if self.status in (429, 503) else {}


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)


def as_api_error(error: WeftError) -> ApiError:
    """What a run was refused for, or failed of; never a stack."""
    match error:
        case ContextOverflowError():
            return ApiError(400, str(error), code="context_length_exceeded", param="messages")
        case NoToolsError():
            return ApiError(400, str(error), code="tools_not_supported", param="tools")
        case DeploymentError():  # the server's fleet, not the caller's request
            return ApiError(503, str(error), code="not_deployed")
        case InputError():
            return ApiError(400, str(error), code="invalid_input")
        case OverloadError():
            return ApiError(429, str(error), code="overloaded", retry_after_s=error.retry_after_s)
        case DeadlineError():
            return ApiError(504, str(error), code="deadline_exceeded")
        case NodeDiedError():
            return ApiError(503, str(error), code="node_died")
        case _:
            return ApiError(500, str(error), code="run_failed")


def _type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 429:
            return "rate_limit_error"
        case _ if status < 500:
            return "invalid_request_error"
        case _:
            return "server_error"
