-- The keywords of a project ($1). Nobody else changes them until the transaction ends.
select opt_out_words as opt_out, opt_in_words as opt_in, help_words as help from project where id = $1 for no key update
