namespace Vmm.Benchmarks;

/// <summary>The guest of the exit comparison: <c>again: mov eax, [register]; jmp again</c>, in 32-bit code.</summary>
internal static class RegisterReads
{
    internal const uint Register = 0xd000_0000;
    internal const ushort Address = 0x1000;

    internal static ReadOnlySpan<byte> Code => [0xa1, 0x00, 0x00, 0x00, 0xd0, 0xeb, 0xf9];
}
