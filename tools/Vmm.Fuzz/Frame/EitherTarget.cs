namespace Vmm.Fuzz;

/// <summary>Two targets, of which an input chooses one by its last byte, so that the same input always meets the same.</summary>
internal sealed class EitherTarget(IFuzzTarget even, IFuzzTarget odd) : IFuzzTarget
{
    public void Run(FuzzInput input) => (input.Bytes.Span is [.., var last] && last % 2 != 0 ? odd : even).Run(input);

    public void Dispose()
    {
        even.Dispose();
        odd.Dispose();
    }
}
