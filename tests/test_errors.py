"""Messages of mistakes say what the user has to know."""

from torch._utils import ExceptionWrapper

from hf_kit.errors import UserError


def test_an_error_out_of_a_data_worker_comes_without_its_traceback():
    try:
        raise UserError("photos/3.jpg: damaged")
    except UserError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    try:
        wrapped.reraise()
    except UserError as told:
        assert str(told) == "photos/3.jpg: damaged"
