"""`/generators`: what images can be made of."""

from fastapi import APIRouter

from service.dependencies import GeneratorId, StoreDep
from service.generators import every_generator, find_generator
from service.openapi import problems
from service.problems import not_found
from service.views import GeneratorList, GeneratorView

router = APIRouter(prefix="/generators", tags=["generators"])


@router.get("", summary="List generators", responses=problems(503))
def list_generators(store: StoreDep) -> GeneratorList:
    """Every generator a project can use, by id."""
    return GeneratorList(generators=[GeneratorView.model_validate(g.model_dump()) for g in every_generator(store)])


@router.get("/{generator_id}", summary="Get a generator", responses=problems(404, 503))
def get_generator(generator_id: GeneratorId, store: StoreDep) -> GeneratorView:
    """One generator: its resolution, its size, and where it comes from."""
    generator = find_generator(store, generator_id)
    if generator is None:
        raise not_found("generator")
    return GeneratorView.model_validate(generator.model_dump())
