"""From a sender to the nodes that have connections of the stream."""
