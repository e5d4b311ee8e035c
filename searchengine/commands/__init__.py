"""One file a command (or two that are twins). They print; nothing below them does."""
