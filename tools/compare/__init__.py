"""The same guest on Proxen and on real Xen 4.17: transcripts, and where they differ."""
