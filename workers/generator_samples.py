"""Draws a generator's samples at a truncation that nobody asked for before."""

from models.bundle import load_generator
from models.device import choose_device
from service.generators import find_generator
from service.records import generator_key, rounded_truncation, samples_file
from service.settings import get_settings
from service.stores import open_store
from workers.local_generators import WEIGHTS, generator_cache, local_generator
from workers.sample_grid import sample_grid


def run(generator_id: str, truncation: float) -> None:
    """Put the picture into the store, unless it is there or the generator is gone."""
    settings = get_settings()
    store = open_store(settings.store_url, settings.s3_endpoint_url)
    record = find_generator(store, generator_id)
    key = generator_key(generator_id, samples_file(truncation))
    if record is None or store.exists(key):
        return
    with local_generator(store, record, generator_cache(settings)) as folder:
        generator = load_generator(folder / WEIGHTS, choose_device(settings.device))
    store.put(key, sample_grid(generator, rounded_truncation(truncation)))
    newest = find_generator(store, generator_id)
    if newest is None or newest.sha256 != record.sha256:  # deleted or replaced while it was being drawn
        store.delete(key)
