namespace Vmm.Events.Native;

internal static unsafe partial class Libc
{
    /// <summary>CPUs that a cpu_set_t has bits for (CPU_SETSIZE).</summary>
    internal const int CpusMax = 1024;

    /// <summary>A sigset_t. Empty is a first word of zero; of the rest some libraries clear all, some nothing.</summary>
    internal const int SignalSetBytes = 128;

    private const int CallingThread = 0;

    [LibraryImport(Name, EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static partial int SetAffinity(int thread, nuint maskBytes, ulong* mask);

    [LibraryImport(Name, EntryPoint = "sched_getaffinity", SetLastError = true)]
    private static partial int GetAffinity(int thread, nuint maskBytes, ulong* mask);

    [LibraryImport(Name, EntryPoint = "pthread_self")]
    private static partial nint ThisThread();

    [LibraryImport(Name, EntryPoint = "pthread_getattr_np")]
    private static partial int GetThreadAttributes(nint thread, byte* attributes);

    [LibraryImport(Name, EntryPoint = "pthread_attr_getstack")]
    private static partial int GetStack(byte* attributes, nuint* lowest, nuint* bytes);

    [LibraryImport(Name, EntryPoint = "pthread_attr_destroy")]
    private static partial int DestroyThreadAttributes(byte* attributes);

    [LibraryImport(Name, EntryPoint = "pthread_key_create")]
    private static partial int CreateThreadKey(uint* key, void* destructor);

    [LibraryImport(Name, EntryPoint = "pthread_setspecific")]
    private static partial int SetOfThread(uint key, void* value);

    /// <summary>
    /// Has the C library empty a signal set (sigemptyset(3)) when the calling thread ends, after all managed code and before its stack is
    /// free. The set, of <see cref="SignalSetBytes"/> at least, is there until then; there is one for each thread.
    /// </summary>
    /// <returns>False if the process has no key left for it.</returns>
    // SAFETY: the destructor of the key takes a set, which the caller keeps.
    internal static bool EmptyAtEndOfThread(void* set) => EmptiedSets.Key is { } key && SetOfThread(key, set) == 0;

    /// <summary>Where the calling thread's stack lies (pthread_getattr_np(3)); zero bytes if that cannot be said.</summary>
    internal static void StackOfCallingThread(out nuint lowest, out nuint bytes)
    {
        const int attributesMax = 128;
        // SAFETY: pthread_attr_t has 56 bytes; the library fills it and two locals.
        byte* attributes = stackalloc byte[attributesMax];
        nuint start = 0;
        nuint length = 0;
        if (GetThreadAttributes(ThisThread(), attributes) == 0)
        {
            if (GetStack(attributes, &start, &length) != 0) length = 0;
            _ = DestroyThreadAttributes(attributes);
        }
        lowest = start;
        bytes = length;
    }

    /// <summary>The CPUs that the calling thread may run on (sched_getaffinity(2)); none if that cannot be said.</summary>
    internal static int[] ProcessorsOfCallingThread()
    {
        const int bitsPerWord = 64;
        const int words = CpusMax / bitsPerWord;
        // SAFETY: a local of exactly the size that is named.
        ulong* mask = stackalloc ulong[words];
        new Span<ulong>(mask, words).Clear();
        if (GetAffinity(CallingThread, words * sizeof(ulong), mask) < 0) return [];
        List<int> numbers = [];
        for (int number = 0; number < CpusMax; number++)
        {
            if ((mask[number / bitsPerWord] >> (number % bitsPerWord) & 1) != 0) numbers.Add(number);
        }
        return [.. numbers];
    }

    /// <summary>Has the calling thread run on one CPU only (sched_setaffinity(2)).</summary>
    internal static Errno PinCallingThread(int cpu)
    {
        const int bitsPerWord = 64;
        const int words = CpusMax / bitsPerWord;
        // SAFETY: a local of exactly the size that is named; the caller's number is below CpusMax.
        ulong* mask = stackalloc ulong[words];
        new Span<ulong>(mask, words).Clear();
        mask[cpu / bitsPerWord] = 1UL << (cpu % bitsPerWord);
        return SetAffinity(CallingThread, words * sizeof(ulong), mask) == 0 ? Errno.None : LastError;
    }

    /// <summary>The key whose values are signal sets (pthread_key_create(3)); null if there is none left.</summary>
    private static class EmptiedSets
    {
        internal static readonly uint? Key = Create();

        private static uint? Create()
        {
            // What every program has is found without a look through the folders of libraries.
            nint loaded = NativeLibrary.GetMainProgramHandle();
            uint key;
            // SAFETY: the library fills a local; a destructor is called with one pointer, as sigemptyset is, and its result is left in a
            // register.
            return CreateThreadKey(&key, (void*)NativeLibrary.GetExport(loaded, "sigemptyset")) == 0 ? key : null;
        }
    }
}
