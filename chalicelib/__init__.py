"""What the Lambda and the runner agree on: the nouns, the rules, the records and the edge to AWS."""
