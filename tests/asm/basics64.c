/* basics64.c - exceptions with and without error code, user mode, IST, selectors. */
#include "guest.h"

static void user_fn(void)
{
    EXPECT_FAULT(GP, 0, "cli", );
    EXPECT_FAULT(GP, 0, "hlt", );
    EXPECT_FAULT(GP, 0, "mov %%cr0, %%rax", : "rax");
    EXPECT_FAULT(GP, 0x80 * 8 + 2, "int $0x80", );
    USER_EXIT();
}

void guest_main(void)
{
    EXPECT_FAULT(UD, 0, "ud2", );
    EXPECT_FAULT(DE, 0, "xor %%ecx, %%ecx; div %%ecx", : "ecx", "eax", "edx");
    EXPECT_FAULT(GP, 0xfff8, "mov %w0, %%ds", "r"(0xfff8));
    EXPECT_FAULT(GP, 0, "mov (%0), %%eax", "r"(0x8000000000000000ull) : "eax");
    EXPECT_FAULT(BP, 0, "int3", );
    run_user(user_fn);
}
