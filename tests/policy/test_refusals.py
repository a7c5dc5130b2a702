"""Configurations that make no sense are refused where they are made, with their values."""

from collections.abc import Callable

import pytest

from weft.core.errors import CapacityError
from weft.policy.admission import AdmissionConfig
from weft.policy.block_hash import SessionHashes
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_index import AssumedCache, PrefixIndex
from weft.policy.priority import PriorityConfig
from weft.policy.router import RouterConfig


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: RouterConfig(choices=0), "choices 0"),
        (lambda: BlockPool(0, 16), "0 blocks of 16 tokens"),
        (lambda: BlockPool(4, 0), "4 blocks of 0 tokens"),
        (lambda: AdmissionConfig(quantile=1.0), "quantile 1.0"),
        (lambda: AdmissionConfig(correction_limit=0.5), "correction_limit 0.5"),
        (lambda: PriorityConfig(patience_s=-1.0), "patience -1.0 s"),
        (lambda: AssumedCache(PrefixIndex(), 0, 0), "0 blocks"),
        (lambda: SessionHashes(0), "block_size 0"),
        (lambda: SessionHashes(2).extend([1, -1]), "not a 32-bit id"),
        (lambda: SessionHashes(2).extend([2**32]), "not a 32-bit id"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(CapacityError, match=problem):
        make()
