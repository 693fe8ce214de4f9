"""Raw rows asked of a run, of an exported folder or of a server, one or millions.

    from mmkeras import answering

    pets = answering.source("served")
    rows = answering.questions(pets, "new.csv")
    answering.write(pets, rows, "answers.parquet")

Files: `sources` who answers, `asking` rows in batches, in their order, `telling` an
answer for people and as a table, `parts` the file that is written, and goes on.
"""

from mmkeras.answering.asking import answered, is_file, questions
from mmkeras.answering.parts import AnswersError, shard_path, write
from mmkeras.answering.sources import is_url, sent, source
from mmkeras.answering.telling import shown, table, told

__all__ = [
    "AnswersError",
    "answered",
    "is_file",
    "is_url",
    "questions",
    "sent",
    "shard_path",
    "shown",
    "source",
    "table",
    "told",
    "write",
]
