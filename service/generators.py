"""The generators in the store, as the API sees them: their records."""

from collections.abc import Iterator

from service.records import GeneratorRecord
from service.stores.protocol import InvalidKey, ObjectMissing, Store


def find_generator(store: Store, generator_id: str) -> GeneratorRecord | None:
    """The generator with this id, or None."""
    try:
        return GeneratorRecord.model_validate_json(store.read(GeneratorRecord.key(generator_id)))
    except (ObjectMissing, InvalidKey):
        return None


def every_generator(store: Store) -> Iterator[GeneratorRecord]:
    """All of them, by id."""
    for row in store.list("generators/"):
        if row.key.count("/") == 2 and row.key.endswith("/generator.json"):
            yield GeneratorRecord.model_validate_json(store.read(row.key))
