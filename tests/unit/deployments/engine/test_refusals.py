"""Which status an engine's error stands for."""

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from deployments.adapters import UnknownAdapter
from deployments.engine.refusals import error_of
from deployments.work import Expired


class Body(BaseModel):
    max_tokens: int


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({"max_tokens": "many"})
    error = error_of(caught.value)
    assert (error["code"], error["param"]) == (400, "max_tokens")


@pytest.mark.parametrize(("err", "status"), [(UnknownAdapter("none"), 404), (Expired("late"), 408)])
def test_our_own_refusals_keep_their_status(err: Exception, status: int) -> None:
    assert error_of(err)["code"] == status


def test_what_stands_for_no_status_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        error_of(KeyError("a defect"))


def test_what_is_wrong_with_several_fields_together_reads_as_a_sentence() -> None:
    class Both(BaseModel):
        @model_validator(mode="after")
        def _refuse(self) -> "Both":
            raise ValueError("stream_options: only when stream is true")

    with pytest.raises(ValidationError) as caught:
        Both.model_validate({})
    error = error_of(caught.value)
    assert error["message"] == "Value error, stream_options: only when stream is true"
    assert error["param"] is None
