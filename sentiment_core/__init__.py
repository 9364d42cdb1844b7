"""SentimentNet: text pipeline, network, training, model artifact and scoring, without Spark."""
