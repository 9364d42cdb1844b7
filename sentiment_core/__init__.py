"""SentimentNet without Spark: text pipeline, network, training, model directory and scoring."""
