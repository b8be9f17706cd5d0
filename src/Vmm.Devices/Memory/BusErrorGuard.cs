using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>
/// Keeps the process alive when memory of a front-end is gone under its mapping: the file was shortened, or a hole was made in huge pages
/// and no page is free to fill it. The kernel then raises SIGBUS, and a handler puts zeros in the place of the whole mapping and signals an
/// eventfd, so that the session of that front-end ends and its neighbours go on. Any other SIGBUS goes to the handler that was there
/// before.
/// </summary>
/// <remarks>
/// The handler is machine code: it interrupts managed code at any instruction, and there the runtime lets no managed code be entered. It
/// makes two system calls, takes no lock and uses no memory but the table. System calls on such memory need no handler: they answer EFAULT.
/// </remarks>
internal static unsafe class BusErrorGuard
{
    /// <summary>Most mappings at once: more than the kernel allows a process by default (vm.max_map_count).</summary>
    private const int SlotsMax = 1 << 16;

    /// <summary>
    /// The table: the number of slots in use, then 32 zero bytes at <see cref="ZerosOffset"/> (a struct sigaction of the kernel), then
    /// slots.
    /// </summary>
    private const int SlotBytes = 32, ZerosOffset = 32, SlotsOffset = 64;

    private const int SIGBUS = 7;
    private const int PROT_EXEC = 4;

    /// <summary>Where the addresses go into the code: of the table, and of what a SIGBUS goes to that is not ours.</summary>
    private const int TableOperand = 0x10, OtherOperand = 2;

    private static readonly Lock Gate = new();
    private static readonly Stack<int> Free = [];
    private static byte* _table;
    private static bool _hasTried;

    /// <summary>
    /// The handler: rdi, rsi and rdx are the signal, its siginfo_t and its ucontext_t. It changes no register that a function must keep.
    /// </summary>
    private static ReadOnlySpan<byte> Handler =>
    [
        0xf3, 0x0f, 0x1e, 0xfa,                         // endbr64
        0x83, 0x7e, 0x08, 0x02,                         // cmp dword [rsi+8], 2         si_code == BUS_ADRERR?
        0x75, 0x76,                                     // jne other
        0x48, 0x8b, 0x46, 0x10,                         // mov rax, [rsi+16]            si_addr
        0x49, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,             // mov r8, table
        0x49, 0x8b, 0x08,                               // mov rcx, [r8]                slots in use
        0x49, 0x83, 0xc0, 0x20,                         // add r8, 32
        0x49, 0x83, 0xc0, 0x20,                         // next: add r8, 32             the first slot is at 64
        0x48, 0xff, 0xc9,                               // dec rcx
        0x78, 0x58,                                     // js other
        0x49, 0x3b, 0x00,                               // cmp rax, [r8]                before its start?
        0x72, 0xf2,                                     // jb next
        0x49, 0x3b, 0x40, 0x08,                         // cmp rax, [r8+8]              behind its end?
        0x73, 0xec,                                     // jae next
        0x57, 0x56, 0x52, 0x41, 0x50,                   // push rdi, rsi, rdx, r8
        0x49, 0x8b, 0x38,                               // mov rdi, [r8]                mmap(start,
        0x49, 0x8b, 0x70, 0x08,                         // mov rsi, [r8+8]
        0x48, 0x29, 0xfe,                               // sub rsi, rdi                 end - start,
        0xba, 0x03, 0, 0, 0,                            // mov edx, 3                   PROT_READ | PROT_WRITE,
        0x41, 0xba, 0x32, 0x40, 0, 0,                   // mov r10d, 0x4032             PRIVATE | FIXED | ANONYMOUS | NORESERVE,
        0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff,       // mov r8, -1                   -1,
        0x45, 0x31, 0xc9,                               // xor r9d, r9d                 0)
        0xb8, 0x09, 0, 0, 0, 0x0f, 0x05,                // mov eax, 9; syscall
        0x41, 0x58, 0x5a, 0x5e, 0x5f,                   // pop r8, rdx, rsi, rdi
        0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff,             // cmp rax, -4095               an error?
        0x73, 0x15,                                     // jae other
        0x49, 0x8b, 0x78, 0x10,                         // mov rdi, [r8+16]             write(eventfd,
        0x49, 0x8d, 0x70, 0x18,                         // lea rsi, [r8+24]             &one,
        0xba, 0x08, 0, 0, 0,                            // mov edx, 8                   8)
        0xb8, 0x01, 0, 0, 0, 0x0f, 0x05,                // mov eax, 1; syscall
        0xc3,                                           // ret
    ];

    /// <summary>other: where there was a handler.</summary>
    private static ReadOnlySpan<byte> GoToHandler =>
    [
        0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,             // mov rax, handler
        0xff, 0xe0,                                     // jmp rax
    ];

    /// <summary>other: where there was none. The default action ends the process when the access is tried again.</summary>
    private static ReadOnlySpan<byte> RestoreDefault =>
    [
        0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0,             // mov rsi, zeros               rt_sigaction(
        0xbf, 0x07, 0, 0, 0,                            // mov edi, 7                   SIGBUS, &zeros,
        0x31, 0xd2,                                     // xor edx, edx                 null,
        0x41, 0xba, 0x08, 0, 0, 0,                      // mov r10d, 8                  8)
        0xb8, 0x0d, 0, 0, 0, 0x0f, 0x05,                // mov eax, 13; syscall
        0xc3,                                           // ret
    ];

    /// <summary>Whether the handler is there, or would be: the host may forbid memory that is written and then executed.</summary>
    internal static bool IsInstalled
    {
        get
        {
            lock (Gate) return TryInstall();
        }
    }

    /// <summary>
    /// Watches over a mapping. The eventfd is signalled when the mapping was replaced by zeros; it stays open until <see cref="Release"/>.
    /// </summary>
    /// <returns>What <see cref="Release"/> takes; −1 where there is no handler.</returns>
    internal static int Protect(nint address, nuint length, EventFd lost)
    {
        lock (Gate)
        {
            if (!TryInstall()) return -1;
            // SAFETY: the table is mapped for the life of the process, and only this class writes it, under the lock. The handler reads it
            // at any time: a slot means something when its end is beyond its start, so the end is written last, and the count after it.
            long inUse = *(long*)_table;
            if (!Free.TryPop(out int slot))
            {
                if (inUse == SlotsMax) return -1;
                slot = (int)inUse;
            }
            ulong* entry = (ulong*)(_table + SlotsOffset + (slot * SlotBytes));
            entry[0] = (ulong)address;
            entry[2] = (ulong)lost.Number;
            entry[3] = 1;
            Volatile.Write(ref entry[1], (ulong)address + length);
            if (slot == inUse) Volatile.Write(ref *(long*)_table, inUse + 1);
            return slot;
        }
    }

    /// <summary>Ends that, before the mapping goes.</summary>
    internal static void Release(int slot)
    {
        if (slot < 0) return;
        lock (Gate)
        {
            // SAFETY: as in Protect.
            Volatile.Write(ref ((ulong*)(_table + SlotsOffset + (slot * SlotBytes)))[1], 0);
            Free.Push(slot);
        }
    }

    /// <summary>Call under the lock.</summary>
    private static bool TryInstall()
    {
        if (_hasTried) return _table is not null;
        _hasTried = true;
        // SAFETY: sigaction reads and writes one struct sigaction, a local; the mappings are ours, of these sizes, and stay for the life of
        // the process.
        SignalAction action = default;
        if (SignalCalls.SetAction(SIGBUS, null, &action) != 0) return false;
        nuint tableBytes = SlotsOffset + (SlotsMax * SlotBytes), codeBytes = (nuint)Environment.SystemPageSize;
        nint table = MemoryCalls.Map(0, tableBytes, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE,
            MemoryCalls.MAP_PRIVATE | MemoryCalls.MAP_ANONYMOUS | MemoryCalls.MAP_NORESERVE, -1, 0);
        nint code = MemoryCalls.Map(0, codeBytes, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE,
            MemoryCalls.MAP_PRIVATE | MemoryCalls.MAP_ANONYMOUS, -1, 0);
        if (table == MemoryCalls.MapFailed || code == MemoryCalls.MapFailed) return false;
        const int DefaultAction = 0, Ignored = 1;
        bool hasHandler = action.Handler is not (DefaultAction or Ignored);
        Write(new Span<byte>((void*)code, (int)codeBytes), table, hasHandler
            ? action.Handler : table + ZerosOffset, hasHandler ? GoToHandler : RestoreDefault);
        if (MemoryCalls.Protect(code, codeBytes, MemoryCalls.PROT_READ | PROT_EXEC) != 0) return false;
        action.Handler = code;
        action.Flags |= SignalAction.WithInformation;
        if (SignalCalls.SetAction(SIGBUS, &action, null) != 0) return false;
        _table = (byte*)table;
        return true;
    }

    private static void Write(Span<byte> code, nint table, nint other, ReadOnlySpan<byte> ending)
    {
        Handler.CopyTo(code);
        BinaryPrimitives.WriteInt64LittleEndian(code[TableOperand..], table);
        ending.CopyTo(code[Handler.Length..]);
        BinaryPrimitives.WriteInt64LittleEndian(code[(Handler.Length + OtherOperand)..], other);
    }
}
