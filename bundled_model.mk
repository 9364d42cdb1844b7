# How the bundled model is made: `make train-bundled-model DATA=directory`, hours on 2 cores. A run that was killed goes on
# from its last checkpoint when the command is repeated; finished steps are not done again.
#
#   language model, two epochs -> teachers (seeds) -> labels of teachers and a linear model for the other reviews
#     -> a third epoch, in another order -> the model, which learns from labels and teachers
#     -> a third epoch at half the rate, in another order
#
# DATA holds the Large Movie Review Dataset as two tables: imdb_train.parquet (product_id, stars, text) and
# imdb_unsup.parquet (product_id, text). The result is build/bundled-model/sentiment and .../language_model.

made := build/bundled-model
labelled = $(DATA)/imdb_train.parquet
unlabelled = $(DATA)/imdb_unsup.parquet
labels = --input $(labelled) --label-column stars --positive-above 5
teachers := $(foreach seed,1 2,$(made)/teacher-$(seed))
taught = --teacher-labels $(made)/teacher-labels.parquet --weight-average 0.998 --excerpt-share 1 \
  --elsewhere benchmarks/short_reviews.csv --data-name "Large Movie Review Dataset (Maas et al., ACL 2011)"
# Of the directory that a target's file is in.
resume = $(if $(wildcard $(@D).checkpoint),--resume)

.PHONY: train-bundled-model
train-bundled-model: $(made)/sentiment/config.json ## train the bundled model anew (DATA=directory of the reviews)

$(made)/first_language_model/config.json: | .venv/runtime-is-ready
	@test -f "$(labelled)" -a -f "$(unlabelled)" || { \
	  echo "DATA=$(DATA) holds no imdb_train.parquet and imdb_unsup.parquet; name their directory" >&2; exit 2; }
	@$(bin)/sentiment pretrain --input $(labelled) $(unlabelled) --epochs 2 --output $(@D) $(resume)

$(made)/language_model/config.json: $(made)/first_language_model/config.json
	@$(bin)/sentiment pretrain --input $(labelled) $(unlabelled) --language-model $(<D) --epochs 1 --seed 2 \
	  --output $(@D) $(resume)

$(teachers:=/config.json): $(made)/teacher-%/config.json: $(made)/first_language_model/config.json
	@$(bin)/sentiment train $(labels) --language-model $(<D) --seed $* --output $(@D) $(resume) \
	  --epochs 2 --word-dropout 0.15

$(made)/teacher-labels.parquet: $(teachers:=/config.json)
	@$(bin)/sentiment label $(labels) --unlabelled $(unlabelled) --models $(^D) --output $@

$(made)/first_sentiment/config.json: $(made)/teacher-labels.parquet $(made)/language_model/config.json
	@$(bin)/sentiment train $(labels) $(taught) --language-model $(made)/language_model --output $(@D) $(resume) --epochs 2

$(made)/sentiment/config.json: $(made)/first_sentiment/config.json
	@$(bin)/sentiment train $(labels) $(taught) --model $(<D) --output $(@D) $(resume) \
	  --epochs 1 --seed 2 --learning-rate 0.002
