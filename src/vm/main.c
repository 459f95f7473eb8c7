#include <stdio.h>

int main(void)
{
    puts("hanok-vm: being built");
    return 1;
}
