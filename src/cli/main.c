#include <stdio.h>

int main(void)
{
    puts("hanok: being built");
    return 1;
}
