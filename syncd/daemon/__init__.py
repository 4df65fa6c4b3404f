"""The process that lives for months: streams as tasks, signals, leaving politely."""
