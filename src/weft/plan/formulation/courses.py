"""Which courses of a promise must be on time, whatever is placed where, and among which the solver may choose.

A course takes as long as any within it, or longer. So if it and those that it lies within together are likelier than
what may be late, they cannot all be late: it must be on time, and all within it are. What then is missing to the
promised share, the solver chooses among the others.
"""

from weft.plan.promises import SAME_SHARE, Course, Promise


def bound_courses(promise: Promise) -> list[Course]:
    """Those that must be on time, without those that lie within another of them."""
    bound = [course for course in promise.courses if _is_bound(promise, course)]
    largest: list[Course] = []
    for course in bound:
        if not any(course.within(other) for other in largest):
            largest = [*(other for other in largest if not other.within(course)), course]
    return largest


def open_courses(promise: Promise) -> list[Course]:
    """Those among which the solver chooses; none where the bound ones are the promised share already."""
    return [] if missing_share(promise) <= SAME_SHARE else [c for c in promise.courses if not _settled(promise, c)]


def missing_share(promise: Promise) -> float:
    """What the open courses that are on time must add up to."""
    return promise.share - sum(course.probability for course in promise.courses if _settled(promise, course))


def _settled(promise: Promise, course: Course) -> bool:
    return any(course.within(other) for other in promise.courses if _is_bound(promise, other))


def _is_bound(promise: Promise, course: Course) -> bool:
    """All that could be on time without it is less than the promised share."""
    others = sum(other.probability for other in promise.courses if not course.within(other))
    return others < promise.share - SAME_SHARE
