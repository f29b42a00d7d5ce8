"""Who may change what: roles, the people and services that a stack knows, their keys, and signatures on Kafka records."""
