-- The marts and the scores as tables of a metastore, for Spark SQL:
--   spark-sql -d marts=/path/to/marts -d scores=/path/to/scores -f jobs/marts/queries/setup/tables.sql
-- A new month becomes a new folder: repeat the last eight lines after each refresh that begins one (it does no harm).
-- The type of product is that of the scores' product column; string here.

CREATE TABLE IF NOT EXISTS sentiment_daily (
  product string COMMENT "The product column of the scores table, in its own type; rows without one count as the product NULL",
  day date COMMENT "The date column of the scores table; a timestamp's day in UTC",
  reviews bigint COMMENT "Rows of the scores table",
  scored bigint COMMENT "Of these in the shares: score_status ok or truncated",
  empty bigint COMMENT "Reviews without a text or a token; without a probability",
  failed bigint COMMENT "Reviews that could not be scored; without a probability",
  unfamiliar bigint COMMENT "Reviews of whose words the model knows too few, another language say; in no share",
  truncated bigint COMMENT "Scored on the first part of a text that is longer than the model reads",
  negative bigint COMMENT "Scored reviews whose text the model labels negative; counts of labels are no estimate",
  neutral bigint COMMENT "Scored reviews whose text the model labels neutral: between its cut-offs",
  positive bigint COMMENT "Scored reviews whose text the model labels positive",
  estimated_share double COMMENT "Estimated share of truly positive reviews",
  estimated_share_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_high double COMMENT "Upper end of its 95 % interval",
  labelled_count bigint COMMENT "Scored reviews with a known label, of which the estimate knows more; 0 without",
  positive_share double COMMENT "positive / scored: a share of the model's labels, not the estimate",
  mean_probability double COMMENT "Mean positive_probability of the scored reviews",
  probability_p10 double COMMENT "10th percentile of positive_probability, within 0.0005",
  probability_p50 double COMMENT "Median of positive_probability, within 0.0005",
  probability_p90 double COMMENT "90th percentile of positive_probability, within 0.0005",
  scored_7d bigint COMMENT "Scored reviews of the product in the 7 days that end on day",
  estimated_share_7d double COMMENT "Estimated share of truly positive reviews among them",
  estimated_share_7d_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_7d_high double COMMENT "Upper end of its 95 % interval",
  labelled_count_7d bigint COMMENT "Of them with a known label",
  positive_share_7d double COMMENT "Of them the share that the model labels positive",
  trend_7d double COMMENT "Slope of the corrected probability in them, per day, least squares over the reviews; NULL if all are of one day",
  trend_7d_p double COMMENT "Two-sided p that there is no slope (permutation test)",
  scored_28d bigint COMMENT "Scored reviews of the product in the 28 days that end on day",
  estimated_share_28d double COMMENT "Estimated share of truly positive reviews among them",
  estimated_share_28d_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_28d_high double COMMENT "Upper end of its 95 % interval",
  labelled_count_28d bigint COMMENT "Of them with a known label",
  positive_share_28d double COMMENT "Of them the share that the model labels positive",
  trend_28d double COMMENT "Slope of the corrected probability in them, per day, least squares over the reviews; NULL if all are of one day",
  trend_28d_p double COMMENT "Two-sided p that there is no slope (permutation test)",
  change_7d double COMMENT "estimated_share_7d less that of the 7 days before; NULL if a week has no scored review",
  change_7d_low double COMMENT "Lower end of its 95 % interval; the model's error cancels in a difference",
  change_7d_high double COMMENT "Upper end of its 95 % interval",
  change_7d_p double COMMENT "Two-sided p that the weeks do not differ; correct it for many products",
  probability_sum decimal(28,9) COMMENT "Sum of positive_probability, each rounded to 9 digits; sums merge",
  variance_sum decimal(28,9) COMMENT "Sum of positive_probability * (1 - positive_probability); sums merge",
  corrected_sum decimal(28,9) COMMENT "Sum of positive_probability, each corrected by what its model errs by on other domains; sums merge",
  corrected_square_sum decimal(28,9) COMMENT "Sum of the squares of the corrected ones; sums merge",
  spread_sum decimal(28,9) COMMENT "Sum over the scored reviews of the standard deviation of their model's error between domains; sums merge",
  label_sums struct<w:decimal(28,9),wy:decimal(28,9),wp:decimal(28,9),wpp:decimal(28,9),wyp:decimal(28,9),ww:decimal(28,9),wwy:decimal(28,9),wwp:decimal(28,9),wwpp:decimal(28,9),wwyp:decimal(28,9)> COMMENT "Sums over labelled reviews of products of w (weight), y (label, 1 or 0) and p (probability); sums merge",
  probability_sketch array<struct<bin:int,reviews:bigint>> COMMENT "Reviews by step of 0.001 of positive_probability, sorted, without empty steps; sketches merge by adding",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a product and day with reviews: sentiment, its trend, its change in a week"
LOCATION '${marts}/sentiment_daily';

CREATE TABLE IF NOT EXISTS sentiment_overall (
  day date COMMENT "The date column of the scores table; a timestamp's day in UTC",
  reviews bigint COMMENT "Rows of the scores table",
  scored bigint COMMENT "Of these in the shares: score_status ok or truncated",
  empty bigint COMMENT "Reviews without a text or a token; without a probability",
  failed bigint COMMENT "Reviews that could not be scored; without a probability",
  unfamiliar bigint COMMENT "Reviews of whose words the model knows too few, another language say; in no share",
  truncated bigint COMMENT "Scored on the first part of a text that is longer than the model reads",
  negative bigint COMMENT "Scored reviews whose text the model labels negative; counts of labels are no estimate",
  neutral bigint COMMENT "Scored reviews whose text the model labels neutral: between its cut-offs",
  positive bigint COMMENT "Scored reviews whose text the model labels positive",
  estimated_share double COMMENT "Estimated share of truly positive reviews",
  estimated_share_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_high double COMMENT "Upper end of its 95 % interval",
  labelled_count bigint COMMENT "Scored reviews with a known label, of which the estimate knows more; 0 without",
  positive_share double COMMENT "positive / scored: a share of the model's labels, not the estimate",
  mean_probability double COMMENT "Mean positive_probability of the scored reviews",
  scored_7d bigint COMMENT "Scored reviews of all products in the 7 days that end on day",
  estimated_share_7d double COMMENT "Estimated share of truly positive reviews among them",
  estimated_share_7d_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_7d_high double COMMENT "Upper end of its 95 % interval",
  labelled_count_7d bigint COMMENT "Of them with a known label",
  positive_share_7d double COMMENT "Of them the share that the model labels positive",
  trend_7d double COMMENT "Slope of the corrected probability in them, per day, least squares over the reviews; NULL if all are of one day",
  trend_7d_p double COMMENT "Two-sided p that there is no slope (permutation test)",
  scored_28d bigint COMMENT "Scored reviews of all products in the 28 days that end on day",
  estimated_share_28d double COMMENT "Estimated share of truly positive reviews among them",
  estimated_share_28d_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_28d_high double COMMENT "Upper end of its 95 % interval",
  labelled_count_28d bigint COMMENT "Of them with a known label",
  positive_share_28d double COMMENT "Of them the share that the model labels positive",
  trend_28d double COMMENT "Slope of the corrected probability in them, per day, least squares over the reviews; NULL if all are of one day",
  trend_28d_p double COMMENT "Two-sided p that there is no slope (permutation test)",
  change_7d double COMMENT "estimated_share_7d less that of the 7 days before; NULL if a week has no scored review",
  change_7d_low double COMMENT "Lower end of its 95 % interval; the model's error cancels in a difference",
  change_7d_high double COMMENT "Upper end of its 95 % interval",
  change_7d_p double COMMENT "Two-sided p that the weeks do not differ; correct it for many products",
  probability_sum decimal(28,9) COMMENT "Sum of positive_probability, each rounded to 9 digits; sums merge",
  variance_sum decimal(28,9) COMMENT "Sum of positive_probability * (1 - positive_probability); sums merge",
  corrected_sum decimal(28,9) COMMENT "Sum of positive_probability, each corrected by what its model errs by on other domains; sums merge",
  corrected_square_sum decimal(28,9) COMMENT "Sum of the squares of the corrected ones; sums merge",
  spread_sum decimal(28,9) COMMENT "Sum over the scored reviews of the standard deviation of their model's error between domains; sums merge",
  label_sums struct<w:decimal(28,9),wy:decimal(28,9),wp:decimal(28,9),wpp:decimal(28,9),wyp:decimal(28,9),ww:decimal(28,9),wwy:decimal(28,9),wwp:decimal(28,9),wwpp:decimal(28,9),wwyp:decimal(28,9)> COMMENT "Sums over labelled reviews of products of w (weight), y (label, 1 or 0) and p (probability); sums merge",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a day with reviews, all products together: sentiment, its trend, its change"
LOCATION '${marts}/sentiment_overall';

CREATE TABLE IF NOT EXISTS sentiment_product (
  product string COMMENT "The product column of the scores table, in its own type; rows without one count as the product NULL",
  first_day date COMMENT "First day of the month with a review",
  last_day date COMMENT "Last day of the month with a review",
  days bigint COMMENT "Days of the month with a review",
  reviews bigint COMMENT "Rows of the scores table",
  scored bigint COMMENT "Of these in the shares: score_status ok or truncated",
  empty bigint COMMENT "Reviews without a text or a token; without a probability",
  failed bigint COMMENT "Reviews that could not be scored; without a probability",
  unfamiliar bigint COMMENT "Reviews of whose words the model knows too few, another language say; in no share",
  truncated bigint COMMENT "Scored on the first part of a text that is longer than the model reads",
  negative bigint COMMENT "Scored reviews whose text the model labels negative; counts of labels are no estimate",
  neutral bigint COMMENT "Scored reviews whose text the model labels neutral: between its cut-offs",
  positive bigint COMMENT "Scored reviews whose text the model labels positive",
  estimated_share double COMMENT "Estimated share of truly positive reviews",
  estimated_share_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_high double COMMENT "Upper end of its 95 % interval",
  labelled_count bigint COMMENT "Scored reviews with a known label, of which the estimate knows more; 0 without",
  positive_share double COMMENT "positive / scored: a share of the model's labels, not the estimate",
  mean_probability double COMMENT "Mean positive_probability of the scored reviews",
  probability_p10 double COMMENT "10th percentile of positive_probability, within 0.0005",
  probability_p50 double COMMENT "Median of positive_probability, within 0.0005",
  probability_p90 double COMMENT "90th percentile of positive_probability, within 0.0005",
  probability_sum decimal(28,9) COMMENT "Sum of positive_probability, each rounded to 9 digits; sums merge",
  variance_sum decimal(28,9) COMMENT "Sum of positive_probability * (1 - positive_probability); sums merge",
  corrected_sum decimal(28,9) COMMENT "Sum of positive_probability, each corrected by what its model errs by on other domains; sums merge",
  corrected_square_sum decimal(28,9) COMMENT "Sum of the squares of the corrected ones; sums merge",
  spread_sum decimal(28,9) COMMENT "Sum over the scored reviews of the standard deviation of their model's error between domains; sums merge",
  label_sums struct<w:decimal(28,9),wy:decimal(28,9),wp:decimal(28,9),wpp:decimal(28,9),wyp:decimal(28,9),ww:decimal(28,9),wwy:decimal(28,9),wwp:decimal(28,9),wwpp:decimal(28,9),wwyp:decimal(28,9)> COMMENT "Sums over labelled reviews of products of w (weight), y (label, 1 or 0) and p (probability); sums merge",
  probability_sketch array<struct<bin:int,reviews:bigint>> COMMENT "Reviews by step of 0.001 of positive_probability, sorted, without empty steps; sketches merge by adding",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a product and month with reviews: sentiment"
LOCATION '${marts}/sentiment_product';

CREATE TABLE IF NOT EXISTS sentiment_drivers (
  product string COMMENT "The product column of the scores table, in its own type; rows without one count as the product NULL",
  kind string COMMENT "word, or pair of adjacent words",
  term string COMMENT "The word or the two words as the model reads them, in lower case",
  reviews bigint COMMENT "Reviews of which the term is a driver: one of their strongest",
  contribution double COMMENT "What the term added to the logits of these reviews, summed up; below 0 it made them more negative",
  contribution_low double COMMENT "Lower end of its 95 % interval: what other reviews of the product would give; NULL for a single review",
  contribution_high double COMMENT "Upper end of its 95 % interval",
  mean_contribution double COMMENT "contribution / reviews",
  review_share double COMMENT "reviews / reviews of the product in the month that were scored with drivers",
  rank_positive int COMMENT "1 for the term that lifts most, by contribution; NULL unless it is above 0",
  rank_negative int COMMENT "1 for the term that lowers most, by contribution; NULL unless it is below 0",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a product, month, kind and term: what moved the sentiment, 30 terms a direction"
LOCATION '${marts}/sentiment_drivers';

CREATE TABLE IF NOT EXISTS model_daily (
  model_sha256 string COMMENT "The model that scored the reviews",
  day date COMMENT "The date column of the scores table; a timestamp's day in UTC",
  reviews bigint COMMENT "Rows of the scores table",
  scored bigint COMMENT "Of these in the shares: score_status ok or truncated",
  empty bigint COMMENT "Reviews without a text or a token; without a probability",
  failed bigint COMMENT "Reviews that could not be scored; without a probability",
  unfamiliar bigint COMMENT "Reviews of whose words the model knows too few, another language say; in no share",
  truncated bigint COMMENT "Scored on the first part of a text that is longer than the model reads",
  negative bigint COMMENT "Scored reviews whose text the model labels negative; counts of labels are no estimate",
  neutral bigint COMMENT "Scored reviews whose text the model labels neutral: between its cut-offs",
  positive bigint COMMENT "Scored reviews whose text the model labels positive",
  estimated_share double COMMENT "Estimated share of truly positive reviews",
  estimated_share_low double COMMENT "Lower end of its 95 % interval",
  estimated_share_high double COMMENT "Upper end of its 95 % interval",
  labelled_count bigint COMMENT "Scored reviews with a known label, of which the estimate knows more; 0 without",
  positive_share double COMMENT "positive / scored: a share of the model's labels, not the estimate",
  mean_probability double COMMENT "Mean positive_probability of the scored reviews",
  probability_sum decimal(28,9) COMMENT "Sum of positive_probability, each rounded to 9 digits; sums merge",
  variance_sum decimal(28,9) COMMENT "Sum of positive_probability * (1 - positive_probability); sums merge",
  corrected_sum decimal(28,9) COMMENT "Sum of positive_probability, each corrected by what its model errs by on other domains; sums merge",
  corrected_square_sum decimal(28,9) COMMENT "Sum of the squares of the corrected ones; sums merge",
  spread_sum decimal(28,9) COMMENT "Sum over the scored reviews of the standard deviation of their model's error between domains; sums merge",
  label_sums struct<w:decimal(28,9),wy:decimal(28,9),wp:decimal(28,9),wpp:decimal(28,9),wyp:decimal(28,9),ww:decimal(28,9),wwy:decimal(28,9),wwp:decimal(28,9),wwpp:decimal(28,9),wwyp:decimal(28,9)> COMMENT "Sums over labelled reviews of products of w (weight), y (label, 1 or 0) and p (probability); sums merge",
  score_histogram array<bigint> COMMENT "Scored reviews in 15 steps of equal width of positive_probability, those of the model's calibration table",
  tokens bigint COMMENT "Tokens of all reviews before clipping",
  tokens_ok bigint COMMENT "Tokens of the reviews with score_status ok, of which every token was scored",
  unknown_ok bigint COMMENT "Of tokens_ok those outside the model's vocabulary",
  unknown_rate double COMMENT "unknown_ok / tokens_ok",
  truncated_share double COMMENT "truncated / scored",
  unfamiliar_share double COMMENT "unfamiliar / reviews",
  tokens_p10 double COMMENT "10th percentile of the scored reviews' tokens before clipping, within 1 %",
  tokens_p50 double COMMENT "Median of the scored reviews' tokens before clipping, within 1 %",
  tokens_p90 double COMMENT "90th percentile of the scored reviews' tokens before clipping, within 1 %",
  tokens_sketch array<struct<bin:int,reviews:bigint>> COMMENT "Scored reviews by step of tokens (step b ends at 1.02 to the power b), sorted; sketches merge by adding",
  validation_scored bigint COMMENT "Reviews in the model's validation histogram; NULL if it is not known",
  psi_validation double COMMENT "Population stability index of score_histogram against the model's validation reviews",
  week_scored bigint COMMENT "Reviews that the same model scored in the 7 days before day",
  psi_week double COMMENT "Population stability index of score_histogram against these; NULL if there are none",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a model and day with reviews: scores, lengths, unknown words, and drift"
LOCATION '${marts}/model_daily';

CREATE TABLE IF NOT EXISTS data_quality (
  run_date date COMMENT "The run date of the scores table",
  reviews bigint COMMENT "Rows of the scores table",
  undated bigint COMMENT "Of these without a date in the date column; in no other mart",
  misdated bigint COMMENT "Of these with a date that cannot be true, outside the window; in no other mart",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a run date: reviews without a date, or with one that cannot be true"
LOCATION '${marts}/data_quality';

CREATE TABLE IF NOT EXISTS run_history (
  run_id string COMMENT "The scoring run, as in the scores table",
  run_date date COMMENT "The run's date argument",
  model_sha256 string COMMENT "The model that scored",
  engine string COMMENT "Engine option of the run",
  precision string COMMENT "Precision option of the run",
  devices string COMMENT "Devices that scored, separated by commas",
  version string COMMENT "Version of the package that scored",
  reviews bigint COMMENT "Rows of the input, all in the output",
  scored bigint COMMENT "Of these with score_status ok or truncated",
  empty bigint COMMENT "Reviews without a text or a token",
  failed bigint COMMENT "Reviews that could not be scored",
  unfamiliar bigint COMMENT "Reviews of whose words the model knows too few",
  truncated bigint COMMENT "Reviews scored on the first part of their text",
  positive bigint COMMENT "Scored reviews labelled positive",
  tokens bigint COMMENT "Tokens before clipping",
  unknown_tokens bigint COMMENT "Tokens outside the vocabulary, of those scored",
  score_seconds double COMMENT "Seconds of scoring and staging",
  total_seconds double COMMENT "Seconds of all timed stages, start of Spark included",
  reviews_per_second double COMMENT "reviews / score_seconds",
  tokens_per_second double COMMENT "tokens / score_seconds",
  cores bigint COMMENT "Cores that the run was given",
  core_hours double COMMENT "cores * total_seconds / 3600",
  cost double COMMENT "core_hours * the price given with --core-hour-price; NULL without",
  cost_per_million double COMMENT "Cost of a million reviews at that rate",
  output_bytes bigint COMMENT "Size of the Parquet files that the run published",
  month string COMMENT "Month of the row, like 2026-11; the partition"
)
USING parquet
PARTITIONED BY (month)
COMMENT "One row a scoring run: rows, seconds, speed, cost"
LOCATION '${marts}/run_history';

CREATE TABLE IF NOT EXISTS scores
USING parquet
LOCATION '${scores}';

MSCK REPAIR TABLE sentiment_daily;
MSCK REPAIR TABLE sentiment_overall;
MSCK REPAIR TABLE sentiment_product;
MSCK REPAIR TABLE sentiment_drivers;
MSCK REPAIR TABLE model_daily;
MSCK REPAIR TABLE data_quality;
MSCK REPAIR TABLE run_history;
MSCK REPAIR TABLE scores;
