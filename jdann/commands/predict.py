"""`jdann predict`."""

from argparse import Namespace
from functools import partial
from pathlib import Path

from jdann import remote
from jdann.cluster.ray_cluster import parse_address
from jdann.cluster.shards import Shard, all_shards, count_of_shards, numbers, parse_shard
from jdann.commands.reading import data_dir, expanded
from jdann.commands.recogniser import load_recogniser
from jdann.errors import InputError
from jdann.inference import predict, shards
from jdann.inference.items import Item, find_some_items
from jdann.inference.options import Options, check
from jdann.parameters import pick


def execute(arguments: Namespace) -> int:
    """Recognises files; see `jdann.inference.predict.run` for the exit status."""
    options = Options(
        arguments.timeline,
        arguments.window_s,
        arguments.hop_s,
        arguments.abstain,
        arguments.adapt or arguments.one_speaker or bool(arguments.speaker_pattern),
        arguments.one_speaker,
        arguments.speaker_pattern,
        arguments.speakers_per_recording,
        data_dir(arguments),
        arguments.sets,
    )
    if arguments.out is not None:
        return _predict_in_shards(arguments, options)
    for name, value in (("--shard", arguments.shard), ("--on", arguments.on)):
        if value:
            raise InputError(f"{name} {value}: needs --out, the folder of the shards")
    if arguments.format is not None:
        raise InputError("--format: needs --out, the folder of the shards")
    return predict.run(
        lambda: load_recogniser(arguments),
        arguments.files,
        options,
        arguments.csv,
        arguments.json,
    )


def _predict_in_shards(arguments: Namespace, options: Options) -> int:
    """Writes one shard or all of them to a folder; a clip that is left out is a row there."""
    if arguments.csv or arguments.json:
        raise InputError("--out: writes files; leave out --csv and --json")
    check(options)
    shards.check_options(options)
    file_format = arguments.format or "csv"
    pick(dict.fromkeys(shards.FORMATS), file_format, "--format")
    if file_format == "parquet":
        shards.import_arrow()
    shard = parse_shard(arguments.shard) if arguments.shard else Shard(1, 1)
    address = parse_address(arguments.on) if arguments.on else None
    items = [_from_anywhere(item) for item in find_some_items(arguments.files)]
    folder = expanded(arguments.out).absolute()
    count = count_of_shards(folder, len(items)) if arguments.on else shard.count
    batch = shards.Batch(items, options, folder, file_format, count)
    arguments.model = expanded(arguments.model).absolute()
    recogniser = load_recogniser(arguments)
    shards.begin(batch, recogniser)
    if arguments.on:
        shards.predict_on_ray(address, partial(load_recogniser, arguments), batch)
    else:
        shards.predict_part(lambda: recogniser, shards.part_of(batch, shard))
    _report(batch, all_shards(count) if arguments.on else [shard])
    return 0


def _from_anywhere(item: Item) -> Item:
    """The clip by its absolute path, which is the same for all workers."""
    path = item.part.path
    if remote.is_url(path):
        return item
    return item._replace(part=item.part._replace(path=Path(path).absolute()))


def _report(batch: shards.Batch, done: list[Shard]) -> None:
    left_out = shards.count_left_out(batch, done)
    clips = sum(len(shard.rows(len(batch.items))) for shard in done)
    print(f"{clips:,} clips are in {batch.folder}; {left_out:,} of them were left out")
    missing = shards.missing_shards(batch)
    if missing:
        print(f"still missing: shards {numbers(missing)} of {batch.count}")
