"""What the console asks of the rest of the stack: status, models, rules, drift, alerts, people."""
