"""What a question of a task is called on a card."""


def output_name(task: str, question: str) -> str:
    """Return the name of a question or view: that of its task where it has none of its own."""
    return f"{task}: {question}" if question else task
