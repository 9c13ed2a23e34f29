"""One segment on disk: its layout, how it is written durably, mapped and checked."""
