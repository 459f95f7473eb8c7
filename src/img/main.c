#include <stdio.h>

int main(void)
{
    puts("hanok-img: being built");
    return 1;
}
