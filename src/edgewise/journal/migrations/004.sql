-- Lines of thinned records are found by what they span, to be joined.
CREATE INDEX losses_thinned ON losses (stream, consumer, first) WHERE reason = 'thinned';
