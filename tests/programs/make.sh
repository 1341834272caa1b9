# make -j2 of a small C project with tcc, twice, and what it makes.
cp /t/programs/project/* .
make -s -j2 words || exit
ls
echo 'the whale and the whelk, the crab and the shell' | ./words
make -j2 words
echo '/* changed */' >> tree.c
make -n | sed 's/ .*-o / -o /;s/ [^ ]*$//'
make -s -j2 && echo 'one two one' | ./words
# A part that fails, while another goes on.
echo 'int broken(' > count.c
make -s -j2 -k 2>errors || echo "make: $?"
grep -c . errors
make -s clean
ls
