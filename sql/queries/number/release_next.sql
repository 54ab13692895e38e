-- Writes a batch of a decision about the held deliveries of a number. Returns whether it wrote one.
select release_next_deliveries() as "wrote_one!"
