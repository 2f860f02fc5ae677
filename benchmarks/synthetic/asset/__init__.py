"""The programs that build the head model of the synthetic faces; nothing that is installed imports them."""
