declare module 'asciichart' {
  const asciichart: {
    plot(
      series: number[],
      config?: { height?: number; min?: number; max?: number; format?: (value: number) => string },
    ): string;
  };
  export default asciichart;
}
