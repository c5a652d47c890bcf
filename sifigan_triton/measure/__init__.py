"""The benchmark: models x requests x loads x protocols in one interleaved run, beside the bare engine in-process."""
